//! JSON-RPC over HTTP: bitcoind's and the engine's.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use jsonrpc::bitreq_http_async::Builder;
use jsonrpc::client_async::Client;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::to_raw_value;

use crate::failure::{Failure, OrFail as _, Outcome};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON-RPC server.
pub struct Rpc {
    client: Client,
    name: &'static str,
    url: String,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.url)
    }
}

impl Rpc {
    /// The engine's Eth JSON-RPC.
    pub fn engine(url: &str) -> Outcome<Self> {
        let builder = Builder::new().timeout(TIMEOUT).url(url).or_configuration(format!("`{url}` is not a URL"))?;
        Ok(Self { client: Client::with_transport(builder.build()), name: "Eth JSON-RPC", url: url.to_owned() })
    }

    /// An Alys node's JSON-RPC for miners.
    pub fn miners(url: &str, auth_file: Option<&Path>) -> Outcome<Self> {
        let mut builder = Builder::new().timeout(TIMEOUT).url(url).or_configuration(format!("`{url}` is not a URL"))?;
        if let Some(file) = auth_file {
            let line = std::fs::read_to_string(file).or_configuration(format!("cannot read {}", file.display()))?;
            builder = builder.cookie_auth(line.trim());
        }
        Ok(Self { client: Client::with_transport(builder.build()), name: "Alys", url: url.to_owned() })
    }

    /// The bitcoind that bridge uses, or one of its wallets.
    pub fn bitcoind(config: &alys_bridge::BitcoindConfig, wallet: Option<&str>) -> Outcome<Self> {
        let base = config.url.trim_end_matches('/');
        let url = wallet.map_or_else(|| base.to_owned(), |wallet| format!("{base}/wallet/{wallet}"));
        let mut builder = Builder::new().timeout(TIMEOUT).url(&url).or_configuration(format!("`{url}` is not a URL"))?;
        if let Some(file) = &config.cookie_file {
            builder = builder.cookie_auth(read(file, "bitcoind's cookie")?.trim());
        } else if let Some(user) = &config.user {
            let password = config.password_file.as_ref().map(|file| read(file, "bitcoind's password")).transpose()?;
            builder = builder.basic_auth(user.clone(), password.map(|text| text.trim().to_owned()));
        }
        Ok(Self { client: Client::with_transport(builder.build()), name: "bitcoind", url: base.to_owned() })
    }

    /// Calls a method.
    pub async fn call<R: DeserializeOwned>(&self, method: &str, params: &[Value]) -> Outcome<R> {
        let raw = to_raw_value(params).or_bug("parameters are not JSON")?;
        match self.client.call(method, Some(&raw)).await {
            Ok(result) => Ok(result),
            Err(jsonrpc::Error::Rpc(refused)) => {
                Err(Failure::usage(format!("{} refused {method}: {} ({})", self.name, refused.message, refused.code)))
            }
            Err(cause) => Err(Failure::temporary(format!("{} at {} does not answer {method}: {cause}", self.name, self.url))
                .help("check that it runs and that the address is right: `alys config show --origin`")),
        }
    }
}

fn read(file: &Path, what: &str) -> Outcome<String> {
    std::fs::read_to_string(file)
        .or_temporary(format!("cannot read {what} {}", file.display()))
        .map_err(|failure| failure.help("bitcoind writes its cookie when it starts: is it running?"))
}
