//! From stored blocks to the shapes of JSON-RPC.

use std::sync::Arc;

use alloy_consensus::transaction::{Recovered, TxEnvelope};
use alloy_consensus::{BlockBody, ReceiptEnvelope, Transaction as _};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Sealed, U256};
use alloy_rlp::Encodable as _;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction, TransactionInfo, TransactionReceipt};

use crate::core::view::BlockView;
use crate::pool::Pooled;

/// Lengths and indices within a block are far below 2^64.
fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A block with hashes or whole transactions.
pub(super) fn block(view: &BlockView, full: bool) -> Block {
    let body = body(view);
    let withdrawals = body.withdrawals.clone();
    let size = alloy_consensus::Block::<TxEnvelope>::new(view.header.clone(), body).length();
    let transactions = if full {
        BlockTransactions::Full((0..view.transactions.len()).filter_map(|index| transaction(view, index)).collect())
    } else {
        BlockTransactions::Hashes(view.transactions.iter().map(|transaction| *transaction.tx_hash()).collect())
    };
    let sealed = Sealed::new_unchecked(view.header.clone(), view.hash);
    let header = Header::from_consensus(sealed, None, Some(U256::from(size)));
    Block { header, uncles: Vec::new(), transactions, withdrawals }
}

/// The body as it is encoded.
pub(super) fn body(view: &BlockView) -> BlockBody<TxEnvelope> {
    BlockBody {
        transactions: view.transactions.iter().map(|transaction| transaction.inner().clone()).collect(),
        ommers: Vec::new(),
        withdrawals: view.header.withdrawals_root.map(|_| Withdrawals::new(view.withdrawals.clone())),
    }
}

/// A transaction of a block.
pub(super) fn transaction(view: &BlockView, index: usize) -> Option<Transaction> {
    let found: Recovered<TxEnvelope> = view.transactions.get(index)?.clone();
    let info = TransactionInfo {
        hash: Some(*found.tx_hash()),
        index: Some(wide(index)),
        block_hash: Some(view.hash),
        block_number: Some(view.header.number),
        base_fee: view.header.base_fee_per_gas,
        block_timestamp: Some(view.header.timestamp),
    };
    Some(Transaction::from_transaction(found, info))
}

/// A transaction that waits.
pub(super) fn pooled(entry: &Arc<Pooled>) -> Transaction {
    Transaction::from_transaction(entry.transaction().clone(), TransactionInfo::default())
}

/// The receipts of a block.
pub(super) fn receipts(view: &BlockView) -> Vec<TransactionReceipt> {
    let mut out = Vec::with_capacity(view.receipts.len());
    let (mut gas_before, mut log_index) = (0_u64, 0_u64);
    for (index, (transaction, receipt)) in view.transactions.iter().zip(&view.receipts).enumerate() {
        let cumulative = receipt.cumulative_gas_used();
        let gas_used = cumulative.saturating_sub(gas_before);
        gas_before = cumulative;
        let place = Place { view, index, transaction };
        out.push(place.receipt(receipt, gas_used, &mut log_index));
    }
    out
}

/// One transaction in its block.
struct Place<'a> {
    view: &'a BlockView,
    index: usize,
    transaction: &'a Recovered<TxEnvelope>,
}

impl Place<'_> {
    fn receipt(&self, receipt: &ReceiptEnvelope, gas_used: u64, log_index: &mut u64) -> TransactionReceipt {
        let (view, transaction) = (self.view, self.transaction);
        let inner = receipt.clone().map_logs(|log| {
            let shown = self.log(log, *log_index);
            *log_index = log_index.saturating_add(1);
            shown
        });
        let created = transaction.is_create().then(|| transaction.signer().create(transaction.nonce()));
        TransactionReceipt {
            inner,
            transaction_hash: *transaction.tx_hash(),
            transaction_index: Some(wide(self.index)),
            block_hash: Some(view.hash),
            block_number: Some(view.header.number),
            gas_used,
            effective_gas_price: transaction.effective_gas_price(view.header.base_fee_per_gas),
            blob_gas_used: None,
            blob_gas_price: None,
            from: transaction.signer(),
            to: transaction.to(),
            contract_address: created,
        }
    }

    fn log(&self, inner: alloy_primitives::Log, log_index: u64) -> Log {
        Log {
            inner,
            block_hash: Some(self.view.hash),
            block_number: Some(self.view.header.number),
            block_timestamp: Some(self.view.header.timestamp),
            transaction_hash: Some(*self.transaction.tx_hash()),
            transaction_index: Some(wide(self.index)),
            log_index: Some(log_index),
            removed: false,
        }
    }
}
