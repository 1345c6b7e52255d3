//! The verdict on a block's peg claims [PEG-4].

use alys_proto::bridge::{PayoutProof, ValidatePegOperations};
use alys_proto::common::{BitcoinBlock, PegInProof};
use bitcoin::hashes::Hash;

use super::payouts::signed_payout;
use super::{BTC, World};
use crate::core::fixture::N;
use crate::core::validate::{Claims, Header, Headers, Verdict};
use crate::core::{BlockRef, Effect};

struct Case {
    world: World,
    question: ValidatePegOperations,
}

fn message(block: BlockRef) -> BitcoinBlock {
    BitcoinBlock { hash: block.hash.to_byte_array().to_vec(), height: block.height }
}

impl Case {
    /// One deposit and one settlement, both exactly deep enough under the view.
    fn new() -> Self {
        let mut world = World::new();
        let txid = signed_payout(&mut world);
        let payout = world.state.ledger.payout(&txid).unwrap().recorded.transaction.clone();
        world.mine(vec![payout, world.deposit(7, BTC)]);
        world.mine_empty(N - 1);
        let effects = world.poll();
        let peg_ins: Vec<PegInProof> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::BitcoinTransactionDetected(proof) => Some(proof.as_ref().clone()),
                _ => None,
            })
            .collect();
        let settlements: Vec<PayoutProof> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::PayoutConfirmed { txid, merkle_proof, block } => Some(PayoutProof {
                    txid: txid.to_byte_array().to_vec(),
                    merkle_proof: merkle_proof.clone(),
                    bitcoin_block: Some(message(*block)),
                }),
                _ => None,
            })
            .collect();
        assert_eq!((peg_ins.len(), settlements.len()), (1, 1));
        let bitcoin_view = Some(message(world.best()));
        Self { world, question: ValidatePegOperations { bitcoin_view, peg_ins, settlements } }
    }

    fn view_at(&mut self, height: u32) {
        let hash = self.world.chain[usize::try_from(height).unwrap()].block_hash();
        self.question.bitcoin_view = Some(message(BlockRef { hash, height }));
    }

    /// What our bitcoind says when it has exactly this chain.
    fn headers(&self) -> Headers {
        let header = |(height, block): (u32, &bitcoin::Block)| {
            let transactions = u32::try_from(block.txdata.len()).unwrap();
            (block.block_hash(), Header::Best { height, transactions })
        };
        (0..).zip(&self.world.chain).map(header).collect()
    }

    fn check(&self) -> Result<Claims, String> {
        Claims::check(&self.question, &self.world.rules.federation, &self.world.rules.peg)
    }

    fn judge(&self, headers: &Headers) -> Verdict {
        self.check().unwrap().judge(headers)
    }

    fn invalid(&self) -> String {
        self.check().unwrap_err()
    }
}

#[test]
fn claims_that_hold_are_valid() {
    let case = Case::new();
    assert_eq!(case.judge(&case.headers()), Verdict::Valid);
    let blocks = case.check().unwrap().blocks();
    assert_eq!(blocks.first(), blocks.last(), "the view is asked for before and after everything else");
    assert_eq!(blocks.len(), 3);
}

#[test]
fn a_block_without_claims_still_needs_a_known_view() {
    let mut case = Case::new();
    case.question.peg_ins.clear();
    case.question.settlements.clear();
    assert_eq!(case.judge(&case.headers()), Verdict::Valid);
    assert!(matches!(case.judge(&Headers::new()), Verdict::Lagging(_)));
    case.question.bitcoin_view = None;
    assert!(case.invalid().contains("no Bitcoin view"));
}

#[test]
fn a_view_that_we_lack_is_never_invalid() {
    let case = Case::new();
    let view = case.world.best().hash;
    let mut headers = case.headers();
    headers.remove(&view);
    assert!(matches!(case.judge(&headers), Verdict::Lagging(_)));
    headers.insert(view, Header::Stale);
    assert!(matches!(case.judge(&headers), Verdict::Lagging(_)));
}

#[test]
fn a_view_at_another_height_is_invalid() {
    let mut case = Case::new();
    case.question.bitcoin_view.as_mut().unwrap().height += 1;
    assert!(matches!(case.judge(&case.headers()), Verdict::Invalid(_)));
}

#[test]
fn depth_counts_from_the_view_and_not_from_our_tip() {
    let mut case = Case::new();
    let shallow = case.world.best().height - 1;
    case.world.mine_empty(10);
    case.view_at(shallow);
    assert!(case.invalid().contains("2 confirmations, 3 needed"), "{}", case.invalid());
}

#[test]
fn a_claim_from_another_branch_is_invalid() {
    let case = Case::new();
    let holding = case.world.chain[usize::try_from(case.world.best().height + 1 - N).unwrap()].block_hash();
    for header in [Some(Header::Stale), None] {
        let mut headers = case.headers();
        match header {
            Some(header) => headers.insert(holding, header),
            None => headers.remove(&holding),
        };
        assert!(matches!(case.judge(&headers), Verdict::Invalid(_)));
    }
}

#[test]
fn a_tree_with_another_number_of_transactions_is_invalid() {
    let case = Case::new();
    let height = case.world.best().height + 1 - N;
    let holding = case.world.chain[usize::try_from(height).unwrap()].block_hash();
    let mut headers = case.headers();
    headers.insert(holding, Header::Best { height, transactions: 4 });
    assert!(matches!(case.judge(&headers), Verdict::Invalid(_)));
    headers.insert(holding, Header::Best { height: height - 1, transactions: 3 });
    assert!(matches!(case.judge(&headers), Verdict::Invalid(_)));
}

#[test]
fn claims_that_say_something_else_than_their_proof_are_invalid() {
    let breaks: [fn(&mut ValidatePegOperations); 7] = [
        |question| question.peg_ins[0].value_sats += 1,
        |question| question.peg_ins[0].recipient = vec![1; 20],
        |question| question.peg_ins[0].recipient = vec![1; 19],
        |question| question.peg_ins[0].transaction = vec![0; 70],
        |question| question.peg_ins[0].merkle_proof = question.peg_ins[0].merkle_proof[..90].to_vec(),
        |question| question.settlements[0].txid = vec![3; 32],
        |question| question.settlements[0].bitcoin_block = None,
    ];
    for (number, break_it) in breaks.iter().enumerate() {
        let mut case = Case::new();
        break_it(&mut case.question);
        assert!(!case.invalid().is_empty(), "{number}");
    }
}
