//! Proof against who signs two things in one place: it convinces a stranger, and what is forged does not.

use alloy_primitives::FixedBytes;
use alys_proto::{Message as _, chain};
use malachite_ed25519::PrivateKey;
use malachite_types::{NilOrVal, Round, SignedProposal, SignedVote, VoteType};

use super::fixtures::{key, spec};
use super::simulation::Simulation;
use crate::core::consensus::context::{Proposal, Vote};
use crate::core::consensus::evidence::{Flaw, KEPT, key as name};
use crate::core::consensus::verify::{sign_proposal, sign_vote};
use crate::core::consensus::{Address, Aura, BlockHeight, BlockId, Evidence};

fn address(key: &PrivateKey) -> Address {
    Address(alloy_primitives::B256::from(*key.public_key().as_bytes()))
}

fn voted(key: &PrivateKey, height: u64, kind: VoteType, block: Option<u8>) -> SignedVote<Aura> {
    let value = block.map_or(NilOrVal::Nil, |byte| NilOrVal::Val(BlockId(FixedBytes::repeat_byte(byte))));
    let vote = Vote { kind, height: BlockHeight(height), round: Round::new(1), value, voter: address(key) };
    sign_vote(&spec(4).domain(), key, vote)
}

fn proposed(key: &PrivateKey, block: u8) -> SignedProposal<Aura> {
    let proposal = Proposal {
        height: BlockHeight(5),
        round: Round::new(1),
        value: BlockId(FixedBytes::repeat_byte(block)),
        pol_round: Round::Nil,
        proposer: address(key),
    };
    sign_proposal(&spec(4).domain(), key, proposal)
}

fn of_votes(first: &SignedVote<Aura>, second: &SignedVote<Aura>) -> chain::Evidence {
    Evidence::Votes(first.into(), second.into()).record(&spec(4).domain(), 7)
}

fn check(record: &chain::Evidence) -> Result<(), Flaw> {
    // As it reaches a stranger: as bytes.
    Evidence::check(&chain::Evidence::decode(record.encode_to_vec().as_slice()).unwrap(), &spec(4))
}

#[test]
fn two_votes_or_proposals_in_one_place_convince_a_stranger() {
    let liar = key(2);
    for kind in [VoteType::Prevote, VoteType::Precommit] {
        assert_eq!(check(&of_votes(&voted(&liar, 5, kind, None), &voted(&liar, 5, kind, Some(1)))), Ok(()));
    }
    let proposals = Evidence::Proposals((&proposed(&liar, 1)).into(), (&proposed(&liar, 2)).into());
    assert_eq!(check(&proposals.record(&spec(4).domain(), 7)), Ok(()));
}

#[test]
fn forged_evidence_is_refused_with_its_reason() {
    let (liar, honest, stranger) = (key(2), key(1), key(9));
    let prevote = |key: &PrivateKey, height, block| voted(key, height, VoteType::Prevote, Some(block));
    let proof = of_votes(&prevote(&liar, 5, 1), &prevote(&liar, 5, 2));

    let same = of_votes(&prevote(&honest, 5, 1), &prevote(&honest, 5, 1));
    assert_eq!(check(&same), Err(Flaw::OneThing));
    let two_heights = of_votes(&prevote(&honest, 5, 1), &prevote(&honest, 6, 2));
    assert_eq!(check(&two_heights), Err(Flaw::TwoPlaces));
    let two_kinds = of_votes(&prevote(&honest, 5, 1), &voted(&honest, 5, VoteType::Precommit, Some(2)));
    assert_eq!(check(&two_kinds), Err(Flaw::TwoPlaces));
    let two_validators = of_votes(&prevote(&honest, 5, 1), &prevote(&liar, 5, 2));
    assert_eq!(check(&two_validators), Err(Flaw::TwoPlaces));
    assert_eq!(check(&of_votes(&prevote(&stranger, 5, 1), &prevote(&stranger, 5, 2))), Err(Flaw::Stranger));

    // Somebody else's signature under the name of an honest validator.
    let forged = SignedVote::new(prevote(&honest, 5, 2).message, prevote(&liar, 5, 2).signature);
    assert_eq!(check(&of_votes(&prevote(&honest, 5, 1), &forged)), Err(Flaw::Forged));
    let other_chain = alys_blocks::ChainSpec { chain_id: 1, ..spec(4) };
    assert_eq!(Evidence::check(&proof, &other_chain), Err(Flaw::Forged));

    let mislabelled = [
        chain::Evidence { validator: address(&honest).0.to_vec(), ..proof.clone() },
        chain::Evidence { height: 6, ..proof.clone() },
        chain::Evidence { kind: "precommit".into(), ..proof.clone() },
        chain::Evidence { second_block: vec![3; 32], ..proof.clone() },
    ];
    for record in mislabelled {
        assert_eq!(check(&record), Err(Flaw::Mislabelled), "{record:?}");
    }
    for bytes in [Vec::new(), vec![0; 7], proof.first.iter().copied().chain([0]).collect()] {
        assert!(matches!(check(&chain::Evidence { first: bytes, ..proof.clone() }), Err(Flaw::Malformed(_))));
    }
}

#[test]
fn one_thing_signed_with_two_signatures_is_no_equivocation() {
    // Who has the key can sign the same bytes in many ways, and says one thing by all of them.
    let vote = voted(&key(2), 5, VoteType::Prevote, Some(1));
    let signed_anew = SignedVote::new(vote.message.clone(), voted(&key(2), 6, VoteType::Prevote, None).signature);
    assert_eq!(check(&of_votes(&vote, &signed_anew)), Err(Flaw::OneThing));
}

#[test]
fn of_each_validator_and_kind_a_bounded_number_is_kept() {
    let names: std::collections::BTreeSet<String> = (1..10 * KEPT)
        .map(|height| {
            let vote = |block| voted(&key(2), height, VoteType::Prevote, Some(block));
            name(&of_votes(&vote(1), &vote(2)))
        })
        .collect();
    assert_eq!(names.len() as u64, KEPT);
}

#[test]
fn who_signs_two_things_in_one_place_leaves_proof_with_the_others_over_a_restart() {
    let mut world = Simulation::new(4, 0, 7);
    world.liars = vec![2];
    world.run_with_exchange(120, |world| [0, 1, 3].iter().all(|node| world.nodes[*node].disk.evidence.len() > 2));
    let before = world.nodes[0].disk.evidence.clone();
    world.start(0);
    assert_eq!(world.nodes[0].disk.evidence, before);
}
