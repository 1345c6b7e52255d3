//! Burns of blocks: from receipts that make up the root in the block's header, whatever else the client says.

use std::time::Duration;

use alloy_consensus::proofs::calculate_receipt_root;
use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, BloomInput};
use alloy_rpc_types_engine::ForkchoiceState;
use alloy_sol_types::SolEvent as _;
use alys_blocks::BRIDGE_CONTRACT;

use super::engine::{ClientEngine, Failure};
use crate::core::burns::{self, Burn, RequestPegOut};
use crate::engine::MAX_BURNS;

/// How often, and how far apart, the receipts of a new head are asked for.
const RECEIPT_TRIES: u32 = 20;
const RECEIPT_WAIT: Duration = Duration::from_millis(50);

impl ClientEngine {
    /// Burns of committed blocks, both ends included.
    ///
    /// # Errors
    /// `Refused` when there are too many.
    pub(super) async fn burns(&mut self, from: u64, to: u64) -> Result<Vec<Burn>, Failure> {
        let (_, head) = self.known_head().await?;
        let mut found = Vec::new();
        for number in self.client.burn_blocks(from, to.min(head.number)).await? {
            let Some((hash, header)) = self.client.header_by_number(BlockNumberOrTag::Number(number)).await? else { continue };
            found.extend(self.burns_of(hash, &header, None).await?);
            if found.len() > MAX_BURNS {
                return Err(Failure::Refused(format!("more than {MAX_BURNS} burns up to block {number}: ask in parts")));
            }
        }
        Ok(found)
    }

    /// Burns of an executed block: receipts that make up the header's root. Most blocks need none, their bloom says so.
    /// Hashes of its transactions, where they are not at hand, come from the client.
    pub(super) async fn burns_of(&self, hash: B256, header: &Header, hashes: Option<Vec<B256>>) -> Result<Vec<Burn>, Failure> {
        let bloom = &header.logs_bloom;
        let may_burn = bloom.contains_input(BloomInput::Raw(BRIDGE_CONTRACT.as_slice()))
            && bloom.contains_input(BloomInput::Raw(RequestPegOut::SIGNATURE_HASH.as_slice()));
        if !may_burn {
            return Ok(Vec::new());
        }
        let receipts = match self.client.receipts(hash, header.number).await? {
            Ok(receipts) => receipts,
            Err(_not_shown) => self.receipts_of_head(hash, header.number).await?,
        };
        if calculate_receipt_root(&receipts) != header.receipts_root {
            return Err(Failure::Unfit(format!("the execution client shows other receipts than block {hash} has")));
        }
        let hashes = match hashes {
            Some(hashes) => hashes,
            None => self.client.transactions(hash).await?,
        };
        if hashes.len() != receipts.len() {
            return Err(Failure::Unfit(format!("the execution client does not show the transactions of block {hash}")));
        }
        Ok(burns::find(header.number, &receipts, hashes))
    }

    /// Some clients show receipts of their head only. Nothing is final by that: safe and finalized stay.
    async fn receipts_of_head(&self, hash: B256, number: u64) -> Result<Vec<ReceiptEnvelope>, Failure> {
        let committed = self.head.as_ref().map_or(self.genesis, |(head, _)| *head);
        let state = ForkchoiceState { head_block_hash: hash, safe_block_hash: committed, finalized_block_hash: committed };
        self.client.forkchoice(state, None).await?;
        let mut tries = 0;
        loop {
            match self.client.receipts(hash, number).await? {
                Ok(receipts) => return Ok(receipts),
                // It may still be writing them down.
                Err(_not_yet) if tries < RECEIPT_TRIES => tokio::time::sleep(RECEIPT_WAIT).await,
                Err(reason) => {
                    return Err(Failure::Unfit(format!("the execution client shows no receipts of block {hash}: {reason}")));
                }
            }
            tries += 1;
        }
    }
}
