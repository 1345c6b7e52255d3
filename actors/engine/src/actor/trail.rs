//! Steps in the traces of deposits and burns: what a committed block minted, gave back and burned.

use std::collections::VecDeque;

use alloy_primitives::B256;
use alys_cluster::telemetry::Steps;
use alys_proto::engine::MintTokensRequest;
use alys_proto::{Cause, common};

/// Blocks that were built here and are not committed: one for each round of a height, so few.
const MAX_BUILT: usize = 64;

/// What the credits of our own blocks are for, and which steps were told.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    built: VecDeque<(B256, Vec<Cause>)>,
    steps: Steps,
}

impl Trail {
    /// A block was built with these credits. Of blocks built elsewhere the causes are not known here.
    pub(crate) fn built(&mut self, hash: B256, mints: &[MintTokensRequest]) {
        let causes: Vec<Cause> = mints.iter().filter_map(|mint| Cause::from_key(&mint.cause)).collect();
        if causes.is_empty() {
            return;
        }
        self.built.retain(|(known, _)| *known != hash);
        self.built.push_back((hash, causes));
        if self.built.len() > MAX_BUILT {
            self.built.pop_front();
        }
    }

    /// It is on disk, for the first time.
    pub(crate) fn committed(&mut self, hash: B256, burns: &[common::Burn]) {
        let found = self.built.iter().position(|(known, _)| *known == hash);
        for cause in found.and_then(|at| self.built.remove(at)).map(|(_, causes)| causes).unwrap_or_default() {
            if cause.kind() == Cause::PEG_IN {
                self.step("minted", &cause, || tracing::info!(%hash, "deposit credited"));
            } else {
                self.step("refunded", &cause, || tracing::info!(%hash, "burn given back"));
            }
        }
        for burn in burns {
            let transaction = hex::encode(&burn.transaction_hash);
            self.step("burned", &burn.into(), || tracing::info!(%hash, transaction, "burn executed"));
        }
    }

    fn step(&mut self, step: &'static str, cause: &Cause, tell: impl FnOnce()) {
        if let Some(span) = self.steps.first(step, "", cause) {
            span.in_scope(tell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_wait_for_their_block_and_are_bounded() {
        let mut trail = Trail::default();
        let mint =
            |vout| MintTokensRequest { cause: Cause::deposit(&[1; 32], vout).key().to_vec(), ..MintTokensRequest::default() };
        for number in 0..=64 {
            trail.built(B256::with_last_byte(number), &[mint(number.into()), MintTokensRequest::default()]);
        }
        assert_eq!(trail.built.len(), MAX_BUILT);
        trail.built(B256::with_last_byte(64), &[mint(64)]);
        assert_eq!(trail.built.len(), MAX_BUILT, "the same block again");
        trail.committed(B256::with_last_byte(64), &[]);
        assert!(trail.built.iter().all(|(hash, _)| *hash != B256::with_last_byte(64)));
        assert!(trail.steps.first("minted", "", &Cause::deposit(&[1; 32], 64)).is_none(), "it was told");
        assert!(trail.steps.first("minted", "", &Cause::deposit(&[1; 32], 63)).is_some(), "the others were not");
    }
}
