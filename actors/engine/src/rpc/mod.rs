//! Ethereum JSON-RPC for wallets and tools, over HTTP and WebSocket.
//!
//! Methods read committed blocks only: what was answered is final, so `latest`, `safe`, `finalized` and `pending` name
//! the same block (nonces at `pending` count the pool). Each method runs on a blocking thread, in one of two bounded lanes
//! (see `backend`): slow calls hold up neither quick ones nor the role's mailbox.
//!
//! | file       | methods                                                                                     |
//! |------------|---------------------------------------------------------------------------------------------|
//! | `methods`  | `web3_*`, `net_*`, `eth_chainId`, `eth_syncing`, `eth_accounts`; registers all               |
//! | `account`  | `eth_getBalance`, `eth_getTransactionCount`, `eth_getCode`, `eth_getStorageAt`, `eth_getStorageValues` |
//! | `block`    | `eth_blockNumber`, `eth_getBlock…`, `eth_getUncle…`                                          |
//! | `transact` | `eth_sendRawTransaction`, `eth_getTransaction…`, `eth_getBlockReceipts`, `txpool_*`          |
//! | `call`     | `eth_call`, `eth_estimateGas`, `eth_createAccessList`                                       |
//! | `proof`    | `eth_getProof`, of the head                                                                  |
//! | `debug`    | `debug_getRaw…`, `debug_trace…` with the tracers of Geth that need no script                 |
//! | `fees`     | `eth_gasPrice`, `eth_maxPriorityFeePerGas`, `eth_feeHistory`, `eth_baseFee`, `eth_blobBaseFee` |
//! | `logs`     | `eth_getLogs`                                                                               |
//! | `filters`  | `eth_newFilter`, `eth_newBlockFilter`, `eth_newPendingTransactionFilter`, `eth_getFilter…`, `eth_uninstallFilter` |
//! | `subscribe`| `eth_subscribe`, `eth_unsubscribe` over WebSocket                                            |

mod account;
mod backend;
mod block;
mod call;
mod config;
mod convert;
mod debug;
mod failure;
mod fees;
mod filters;
mod logs;
mod methods;
mod proof;
mod sent;
mod server;
mod subscribe;
mod transact;
mod watch;

pub use backend::Handle;
pub use config::Config;
pub use sent::Sent;
pub(crate) use server::{MAX_REQUEST_BYTES, cors};
pub use server::{RpcError, ServerHandle, serve};
