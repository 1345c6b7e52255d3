//! All methods by name.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U64, keccak256};
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::RpcModule;
use jsonrpsee::types::ParamsSequence;

use super::backend::{Backend, Handle, Lane};
use super::failure::Answer;
use super::filters::Filters;
use super::{account, block, call, debug, fees, logs, proof, subscribe, transact};

/// The parameters of a call, read one after the other.
pub(super) type Arguments<'a> = ParamsSequence<'a>;

/// Every method this server answers.
pub(super) fn all(handle: Handle) -> Result<RpcModule<Backend>, RegisterMethodError> {
    let mut methods = Methods(RpcModule::new(Backend::new(handle)));
    methods.node()?;
    methods.accounts()?;
    methods.blocks()?;
    methods.transactions()?;
    methods.debug()?;
    methods.filters()?;
    Ok(methods.0)
}

struct Methods(RpcModule<Backend>);

impl Methods {
    /// Registers a method that reads a little.
    fn add<T, F>(&mut self, name: &'static str, method: F) -> Result<(), RegisterMethodError>
    where
        T: serde::Serialize + Clone + Send + 'static,
        F: Fn(&Handle, Arguments<'_>) -> Answer<T> + Clone + Send + Sync + 'static,
    {
        self.add_to(Lane::Quick, name, method)
    }

    /// Registers a method that runs the EVM or reads many blocks.
    fn add_slow<T, F>(&mut self, name: &'static str, method: F) -> Result<(), RegisterMethodError>
    where
        T: serde::Serialize + Clone + Send + 'static,
        F: Fn(&Handle, Arguments<'_>) -> Answer<T> + Clone + Send + Sync + 'static,
    {
        self.add_to(Lane::Slow, name, method)
    }

    fn add_to<T, F>(&mut self, lane: Lane, name: &'static str, method: F) -> Result<(), RegisterMethodError>
    where
        T: serde::Serialize + Clone + Send + 'static,
        F: Fn(&Handle, Arguments<'_>) -> Answer<T> + Clone + Send + Sync + 'static,
    {
        self.0.register_async_method(name, move |params, backend: Arc<Backend>, _| {
            let method = method.clone();
            async move { backend.run(lane, move |handle| method(handle, params.sequence())).await }
        })?;
        Ok(())
    }

    /// Registers a method that works on the installed filters.
    fn add_filter<T>(
        &mut self,
        filters: &Arc<Filters>,
        name: &'static str,
        method: fn(&Filters, &Handle, Arguments<'_>) -> Answer<T>,
    ) -> Result<(), RegisterMethodError>
    where
        T: serde::Serialize + Clone + Send + 'static,
    {
        let filters = Arc::clone(filters);
        self.add_slow(name, move |handle, arguments| method(&filters, handle, arguments))
    }

    fn filters(&mut self) -> Result<(), RegisterMethodError> {
        let filters = Arc::new(Filters::default());
        self.add_filter(&filters, "eth_newFilter", Filters::new_logs)?;
        self.add_filter(&filters, "eth_newBlockFilter", Filters::new_blocks)?;
        self.add_filter(&filters, "eth_newPendingTransactionFilter", Filters::new_transactions)?;
        self.add_filter(&filters, "eth_getFilterChanges", Filters::changes)?;
        self.add_filter(&filters, "eth_getFilterLogs", Filters::all_logs)?;
        self.add_filter(&filters, "eth_uninstallFilter", Filters::uninstall)?;
        let subscribe = |params, pending, backend, _| subscribe::subscribe(params, pending, backend);
        self.0.register_subscription("eth_subscribe", "eth_subscription", "eth_unsubscribe", subscribe)?;
        Ok(())
    }

    fn node(&mut self) -> Result<(), RegisterMethodError> {
        self.add("web3_clientVersion", |_, _| Ok(format!("alys/v{}", env!("CARGO_PKG_VERSION"))))?;
        self.add("web3_sha3", |_, mut arguments| Ok(keccak256(arguments.next::<Bytes>()?)))?;
        self.add("net_version", |handle, _| Ok(handle.reader.chain_id().to_string()))?;
        self.add("net_listening", |_, _| Ok(true))?;
        // Peers are the network role's: the engine has none.
        self.add("net_peerCount", |_, _| Ok(U64::ZERO))?;
        self.add("eth_chainId", |handle, _| Ok(U64::from(handle.reader.chain_id())))?;
        self.add("eth_syncing", |_, _| Ok(false))?;
        self.add("eth_accounts", |_, _| Ok(Vec::<Address>::new()))?;
        self.add("txpool_status", transact::pool_status)?;
        self.add_slow("txpool_contentFrom", transact::pool_content_from)?;
        self.add_slow("txpool_content", transact::pool_content)
    }

    fn accounts(&mut self) -> Result<(), RegisterMethodError> {
        self.add("eth_getBalance", account::balance)?;
        self.add("eth_getTransactionCount", account::transaction_count)?;
        self.add("eth_getCode", account::code)?;
        self.add("eth_getStorageAt", account::storage)?;
        self.add("eth_getStorageValues", account::storage_values)?;
        self.add("eth_getProof", proof::account)?;
        self.add_slow("eth_createAccessList", call::create_access_list)?;
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
        self.add("eth_baseFee", fees::base_fee)?;
        self.add("eth_blobBaseFee", fees::blob_base_fee)?;
        self.add_slow("eth_feeHistory", fees::history)
    }

    fn debug(&mut self) -> Result<(), RegisterMethodError> {
        self.add("debug_getRawHeader", debug::raw_header)?;
        self.add("debug_getRawBlock", debug::raw_block)?;
        self.add("debug_getRawReceipts", debug::raw_receipts)?;
        self.add("debug_getRawTransaction", debug::raw_transaction)?;
        self.add_slow("debug_traceTransaction", debug::trace_transaction)?;
        self.add_slow("debug_traceBlockByNumber", debug::trace_by_number)?;
        self.add_slow("debug_traceBlockByHash", debug::trace_by_hash)?;
        self.add_slow("debug_traceCall", debug::trace_call)
    }

    fn transactions(&mut self) -> Result<(), RegisterMethodError> {
        self.add("eth_sendRawTransaction", transact::send_raw)?;
        self.add("eth_getTransactionByHash", transact::by_hash)?;
        self.add("eth_getTransactionByBlockNumberAndIndex", transact::by_number_and_index)?;
        self.add("eth_getTransactionByBlockHashAndIndex", transact::by_block_hash_and_index)?;
        self.add("eth_getTransactionReceipt", transact::receipt)
    }
}
