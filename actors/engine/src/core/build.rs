//! Making a block.

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Block, BlockBody, EMPTY_OMMER_ROOT_HASH, Header, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, B256, Bytes};

use super::block::{ExecuteError, ExecutedBlock};
use super::burns;
use super::execute::{Outcome, TransactionError, logs_bloom, run};
use super::forks::Rules;
use super::header::next_base_fee;
use super::state::StateSource;

/// Bytes of transactions in a block. The payload may have 8 MiB and every transaction 4 bytes more in it.
const MAX_TRANSACTION_BYTES: usize = 6 * 1024 * 1024;
/// After this many transactions in a row that did not fit the block is full enough.
const MAX_MISFITS: u32 = 50;
/// Gas of the cheapest transaction.
const CHEAPEST_TRANSACTION: u64 = 21_000;

/// What the proposer decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Unix seconds, after the parent's.
    pub timestamp: u64,
    /// Randomness that contracts see.
    pub prev_randao: B256,
    /// Consensus hash of the parent.
    pub parent_beacon_block_root: B256,
    /// Who gets the tips.
    pub fee_recipient: Address,
    /// Mints, in order.
    pub withdrawals: Vec<Withdrawal>,
}

/// A new block.
#[derive(Debug)]
pub struct Built {
    /// The block.
    pub block: ExecutedBlock,
    /// Transactions that cannot run on this state and should leave the pool.
    pub invalid: Vec<B256>,
}

/// Builds on `parent` with as many of `candidates`, in their order, as fit before `out_of_time` says stop.
///
/// # Errors
/// A state that cannot be read; `Invalid::Rule` when a system call or a mint cannot be made.
pub fn build<S: StateSource>(
    source: &S,
    rules: &Rules,
    parent: (&Header, B256),
    attributes: &Attributes,
    candidates: impl IntoIterator<Item = Recovered<TxEnvelope>>,
    out_of_time: impl FnMut() -> bool,
) -> Result<Built, ExecuteError> {
    let mut header = open(rules, parent, attributes);
    let mut selection = Selection::new(rules, header.gas_limit, out_of_time);
    let outcome = run(source, rules, &header, &attributes.withdrawals, |run_one| {
        for candidate in candidates {
            if !selection.wants(&candidate) {
                if selection.is_full() {
                    break;
                }
                continue;
            }
            let result = run_one(&candidate);
            selection.ran(candidate, result)?;
        }
        Ok(())
    })?;
    let Selection { chosen, invalid, .. } = selection;
    let (transactions, senders): (Vec<_>, Vec<_>) = chosen.into_iter().map(Recovered::into_parts).unzip();
    seal(&mut header, &transactions, attributes, &outcome);
    let hashes = transactions.iter().map(|transaction| *transaction.tx_hash());
    let burns = burns::find(header.number, &outcome.receipts, hashes);
    let withdrawals = Some(Withdrawals::new(attributes.withdrawals.clone()));
    let hash = header.hash_slow();
    let block = Block { header, body: BlockBody { transactions, ommers: Vec::new(), withdrawals } };
    let block = ExecutedBlock { hash, block, senders, receipts: outcome.receipts, diff: outcome.diff, burns, fees: outcome.fees };
    Ok(Built { block, invalid })
}

/// The header as far as it is known before execution.
fn open(rules: &Rules, (parent, parent_hash): (&Header, B256), attributes: &Attributes) -> Header {
    let blobs = rules.forks.blob_params(attributes.timestamp);
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: attributes.fee_recipient,
        number: parent.number.saturating_add(1),
        gas_limit: rules.gas_limit.unwrap_or(parent.gas_limit),
        timestamp: attributes.timestamp,
        extra_data: Bytes::new(),
        mix_hash: attributes.prev_randao,
        base_fee_per_gas: Some(next_base_fee(parent)),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(parent.next_block_excess_blob_gas(blobs).unwrap_or_default()),
        parent_beacon_block_root: Some(attributes.parent_beacon_block_root),
        ..Header::default()
    }
}

fn seal(header: &mut Header, transactions: &[TxEnvelope], attributes: &Attributes, outcome: &Outcome) {
    header.gas_used = outcome.gas_used;
    header.state_root = outcome.state_root;
    header.transactions_root = calculate_transaction_root(transactions);
    header.receipts_root = calculate_receipt_root(&outcome.receipts);
    header.withdrawals_root = Some(calculate_withdrawals_root(&attributes.withdrawals));
    header.logs_bloom = logs_bloom(&outcome.receipts);
}

/// Which candidates go in.
struct Selection<F> {
    blobs: bool,
    gas_left: u64,
    bytes_left: usize,
    misfits: u32,
    out_of_time: F,
    stopped: bool,
    /// Senders one of whose transactions was left out: their later nonces cannot run.
    skipped: AddressSet,
    chosen: Vec<Recovered<TxEnvelope>>,
    invalid: Vec<B256>,
}

impl<F: FnMut() -> bool> Selection<F> {
    fn new(rules: &Rules, gas_limit: u64, out_of_time: F) -> Self {
        Self {
            blobs: rules.blobs,
            gas_left: gas_limit,
            bytes_left: MAX_TRANSACTION_BYTES,
            misfits: 0,
            out_of_time,
            stopped: false,
            skipped: AddressSet::default(),
            chosen: Vec::new(),
            invalid: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.stopped || self.gas_left < CHEAPEST_TRANSACTION || self.misfits >= MAX_MISFITS
    }

    fn wants(&mut self, candidate: &Recovered<TxEnvelope>) -> bool {
        self.stopped = self.stopped || (self.out_of_time)();
        if self.is_full() || self.skipped.contains(&candidate.signer()) {
            return false;
        }
        if candidate.is_eip4844() && !self.blobs {
            self.drop_candidate(candidate);
            return false;
        }
        let fits = candidate.encode_2718_len() <= self.bytes_left
            && alloy_consensus::Transaction::gas_limit(candidate.inner()) <= self.gas_left;
        if !fits {
            self.misfits = self.misfits.saturating_add(1);
            self.skipped.insert(candidate.signer());
        }
        fits
    }

    fn ran(&mut self, candidate: Recovered<TxEnvelope>, result: Result<u64, TransactionError>) -> Result<(), ExecuteError> {
        match result {
            Ok(gas) => {
                self.gas_left = self.gas_left.saturating_sub(gas);
                self.bytes_left = self.bytes_left.saturating_sub(candidate.encode_2718_len());
                self.misfits = 0;
                self.chosen.push(candidate);
            }
            // The sender's later ones may still run.
            Err(TransactionError::Stale) => {}
            Err(TransactionError::NoRoom) => {
                self.misfits = self.misfits.saturating_add(1);
                self.skipped.insert(candidate.signer());
            }
            Err(TransactionError::Invalid(_)) => self.drop_candidate(&candidate),
            Err(TransactionError::Broken(cause)) => return Err(cause.into()),
        }
        Ok(())
    }

    fn drop_candidate(&mut self, candidate: &Recovered<TxEnvelope>) {
        self.skipped.insert(candidate.signer());
        self.invalid.push(*candidate.inner().tx_hash());
    }
}
