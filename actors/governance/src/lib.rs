//! A governance node: what one member of the federation runs (`alys governance`). It holds one key and trusts nobody.
//!
//! ```text
//!                        ┌────────────── governance node ──────────────┐
//!  own sidechain node ──▶│ follow: check every block, fold the ledger  │──▶ own redb: facts, head,
//!                        │ core:   approve? sign?                      │      everything ever signed
//!  own bitcoind       ──▶│ worker: evidence                            │
//!  stream role       ◀──▶│ session: numbered, acknowledged, resumed    │
//!                        └─────────────────────────────────────────────┘
//! ```
//! What it believes, and on whose word:
//!
//! | fact | on the word of |
//! |---|---|
//! | what is committed, in which order | certificates of more than 2/3 of the validators, checked here |
//! | what was minted, refunded, recorded, settled | those blocks, folded here into [`alys_peg::Ledger`] |
//! | what was burned | the member's **own** sidechain node, which executed the blocks (`CommittedBlock.burns`) |
//! | what is on Bitcoin | the member's own bitcoind |
//! | anything that a request says | nothing: it only names what to look at |
//!
//! Start order does not matter: whatever is away is tried again with jittered backoff, and until then the answer is "not yet".

pub mod core;

mod config;
mod error;
mod follow;
mod io;
mod metrics;
mod node;
mod session;
mod show;
mod wish;

use std::future::Future;
use std::sync::Arc;

use alys_blocks::ChainSpec;
use alys_cluster::Identity;
use alys_cluster::board::Board;
use alys_proto::Role;
use tokio::sync::watch;

pub use config::{BitcoinConfig, Config, Password, TlsConfig};
pub use error::GovernanceError;
pub use io::key;
pub use io::store;
pub use metrics::Metrics;
pub use wish::{wish, wished};

use io::sidechain::Address;
use node::Node;

/// Runs until `shutdown` or until something happens that must not (see [`GovernanceError`]). Then nothing of it is left: the
/// port and the database are free.
pub async fn run(config: Config, spec: ChainSpec, shutdown: impl Future<Output = ()>) -> Result<(), GovernanceError> {
    config.check()?;
    spec.check().map_err(|cause| GovernanceError::Configuration(cause.to_string()))?;
    let stream = Address::new("stream", &config.stream, &config.tls)?;
    let sidechain = Address::new("sidechain", config.sidechain(), &config.tls)?;
    let (status_every, heartbeat, listen) = (config.status, config.heartbeat, config.listen);
    let node = Arc::new(Node::open(config, spec)?);
    let (ending, ends) = watch::channel(false);
    let shown = node.clone();
    let board = Board::new("governance", Identity::new(Role::Unspecified, node.name()), ends, move || shown.sight());
    let _probes = board.show(listen).map_err(|cause| GovernanceError::Listen(cause.to_string()))?;
    tracing::info!(member = node.name(), head = node.head(), "governance node started");
    let following = Box::pin(follow::follow(node.clone(), sidechain));
    let talking = Box::pin(session::talk(node.clone(), stream));
    let asking = async {
        loop {
            node.refresh_bitcoin_height().await;
            tokio::time::sleep(heartbeat).await;
        }
    };
    let showing = async {
        loop {
            tokio::time::sleep(status_every).await;
            tracing::info!(status = %node.status(), "governance status");
        }
    };
    let ended = tokio::select! {
        ended = following => ended,
        () = talking => Err(GovernanceError::Broken("the session task ended".to_owned())),
        () = asking => Err(GovernanceError::Broken("the task that asks bitcoind ended".to_owned())),
        () = showing => Err(GovernanceError::Broken("the status task ended".to_owned())),
        () = shutdown => {
            ending.send_replace(true);
            tracing::info!(status = %node.status(), "governance node stops");
            Ok(())
        }
    };
    node.end().await;
    ended
}
