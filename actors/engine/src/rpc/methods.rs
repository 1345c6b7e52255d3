//! All methods by name.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U64, keccak256};
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::RpcModule;
use jsonrpsee::types::ParamsSequence;

use super::backend::{Backend, Handle, Lane};
use super::failure::Answer;
use super::{account, block, call, fees, logs, transact};

/// The parameters of a call, read one after the other.
pub(super) type Arguments<'a> = ParamsSequence<'a>;

/// A method that may read the disk or run the EVM.
type Method<T> = fn(&Handle, Arguments<'_>) -> Answer<T>;

/// Every method this server answers.
pub(super) fn all(handle: Handle) -> Result<RpcModule<Backend>, RegisterMethodError> {
    let mut methods = Methods(RpcModule::new(Backend::new(handle)));
    methods.node()?;
    methods.accounts()?;
    methods.blocks()?;
    methods.transactions()?;
    Ok(methods.0)
}

struct Methods(RpcModule<Backend>);

impl Methods {
    /// Registers a method that reads a little.
    fn add<T>(&mut self, name: &'static str, method: Method<T>) -> Result<(), RegisterMethodError>
    where
        T: serde::Serialize + Clone + Send + 'static,
    {
        self.add_to(Lane::Quick, name, method)
    }

    /// Registers a method that runs the EVM or reads many blocks.
    fn add_slow<T>(&mut self, name: &'static str, method: Method<T>) -> Result<(), RegisterMethodError>
    where
        T: serde::Serialize + Clone + Send + 'static,
    {
        self.add_to(Lane::Slow, name, method)
    }

    fn add_to<T>(&mut self, lane: Lane, name: &'static str, method: Method<T>) -> Result<(), RegisterMethodError>
    where
        T: serde::Serialize + Clone + Send + 'static,
    {
        self.0.register_async_method(name, move |params, backend: Arc<Backend>, _| async move {
            backend.run(lane, move |handle| method(handle, params.sequence())).await
        })?;
        Ok(())
    }

    fn node(&mut self) -> Result<(), RegisterMethodError> {
        self.add("web3_clientVersion", |_, _| Ok(format!("alys/v{}", env!("CARGO_PKG_VERSION"))))?;
        self.add::<B256>("web3_sha3", |_, mut arguments| Ok(keccak256(arguments.next::<Bytes>()?)))?;
        self.add("net_version", |handle, _| Ok(handle.reader.chain_id().to_string()))?;
        self.add("net_listening", |_, _| Ok(true))?;
        // Peers are the network role's: the engine has none.
        self.add("net_peerCount", |_, _| Ok(U64::ZERO))?;
        self.add("eth_chainId", |handle, _| Ok(U64::from(handle.reader.chain_id())))?;
        self.add("eth_syncing", |_, _| Ok(false))?;
        self.add("eth_accounts", |_, _| Ok(Vec::<Address>::new()))?;
        self.add("txpool_status", transact::pool_status)?;
        self.add_slow("txpool_content", transact::pool_content)
    }

    fn accounts(&mut self) -> Result<(), RegisterMethodError> {
        self.add("eth_getBalance", account::balance)?;
        self.add("eth_getTransactionCount", account::transaction_count)?;
        self.add("eth_getCode", account::code)?;
        self.add("eth_getStorageAt", account::storage)?;
        self.add_slow("eth_call", call::call)?;
        self.add_slow("eth_estimateGas", call::estimate_gas)
    }

    fn blocks(&mut self) -> Result<(), RegisterMethodError> {
        self.add("eth_blockNumber", block::number)?;
        self.add("eth_getBlockByNumber", block::by_number)?;
        self.add("eth_getBlockByHash", block::by_hash)?;
        self.add("eth_getBlockTransactionCountByNumber", block::count_by_number)?;
        self.add("eth_getBlockTransactionCountByHash", block::count_by_hash)?;
        self.add("eth_getUncleCountByBlockNumber", block::uncle_count)?;
        self.add("eth_getUncleCountByBlockHash", block::uncle_count)?;
        self.add("eth_getBlockReceipts", transact::block_receipts)?;
        self.add_slow("eth_getLogs", logs::logs)?;
        self.add_slow("eth_gasPrice", fees::gas_price)?;
        self.add_slow("eth_maxPriorityFeePerGas", fees::priority_fee)?;
        self.add("eth_blobBaseFee", fees::blob_base_fee)?;
        self.add_slow("eth_feeHistory", fees::history)
    }

    fn transactions(&mut self) -> Result<(), RegisterMethodError> {
        self.add("eth_sendRawTransaction", transact::send_raw)?;
        self.add("eth_getTransactionByHash", transact::by_hash)?;
        self.add("eth_getTransactionByBlockNumberAndIndex", transact::by_number_and_index)?;
        self.add("eth_getTransactionByBlockHashAndIndex", transact::by_block_hash_and_index)?;
        self.add("eth_getTransactionReceipt", transact::receipt)
    }
}
