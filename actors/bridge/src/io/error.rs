//! What can go wrong with bitcoind. None of it is ever a verdict on a deposit or a block: it says wait.

use std::path::PathBuf;

use bitcoin::{BlockHash, Network};

/// Why bitcoind gave no answer that we can use.
#[derive(Debug, thiserror::Error)]
pub enum BitcoindError {
    /// It does not answer.
    #[error("bitcoind at {url} does not answer; is it running, and is bitcoind.url right?")]
    Away {
        /// Where it should be.
        url: String,
        /// What the connection says.
        #[source]
        source: corepc_client::Error,
    },
    /// It took longer than the configured time.
    #[error("bitcoind at {0} did not answer in time")]
    Slow(String),
    /// It does not let us in.
    #[error("bitcoind at {0} refuses our user and password; check bitcoind.cookie_file or bitcoind.password_file")]
    Forbidden(String),
    /// The cookie or password cannot be read.
    #[error("cannot read {}: bitcoind writes its cookie when it has started", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is on another network.
    #[error("bitcoind at {url} is on `{found}`, the chain specification is for `{wanted}`")]
    WrongNetwork {
        /// Where it is.
        url: String,
        /// Its network.
        found: String,
        /// Ours.
        wanted: Network,
    },
    /// It is still downloading.
    #[error("bitcoind is in its initial block download: {blocks} of {headers} blocks")]
    InitialDownload {
        /// Blocks it has.
        blocks: u32,
        /// Headers it knows of.
        headers: u32,
    },
    /// It knows less than we have followed already.
    #[error(
        "bitcoind has {blocks} blocks and does not know block {hash}, which we have followed; it is behind, or another chain"
    )]
    Behind {
        /// Its height.
        blocks: u32,
        /// Our newest block.
        hash: BlockHash,
    },
    /// It answers with an error.
    #[error("bitcoind {method}: {message} (code {code})")]
    Rpc {
        /// What was called.
        method: String,
        /// Bitcoin's error code.
        code: i32,
        /// Its text.
        message: String,
    },
    /// It answers something else than asked.
    #[error("bitcoind {method} gave an answer that makes no sense")]
    Nonsense {
        /// What was called.
        method: String,
        /// What the decoder says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BitcoindError {
    /// The error with its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Bitcoin's code for something that it does not know.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Rpc { code: -5, .. })
    }
}
