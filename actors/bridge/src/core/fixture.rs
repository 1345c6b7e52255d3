//! Bitcoin blocks, a federation and a ledger for tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use alys_blocks::ChainSpec;
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness, script, transaction,
};

/// Confirmations in the test specification.
pub(crate) const N: u32 = 3;

/// The key of test member `number`.
pub(crate) fn member(number: u8) -> Keypair {
    Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[number + 1; 32]).unwrap())
}

/// Three members, two must sign, on regtest.
pub(crate) fn spec() -> Arc<ChainSpec> {
    let members = (0..3)
        .map(|number| FederationMember {
            name: format!("governance-{number}"),
            public_key: B256::from(member(number).x_only_public_key().0.serialize()),
        })
        .collect();
    Arc::new(ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![B256::repeat_byte(1)],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: N, start_height: 0 },
        federation: FederationSpec { threshold: 2, members },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    })
}

/// Makes blocks that follow each other.
pub(crate) struct Miner {
    parent: BlockHash,
    salt: u32,
}

impl Miner {
    pub(crate) fn new() -> Self {
        Self { parent: BlockHash::all_zeros(), salt: 0 }
    }

    /// Goes on from another block: the next ones are a new branch.
    pub(crate) fn branch(&self, parent: BlockHash) -> Self {
        Self { parent, salt: self.salt + 1_000 }
    }

    pub(crate) fn mine(&mut self, transactions: Vec<Transaction>) -> Block {
        self.salt += 1;
        let mut txdata = vec![coinbase(self.salt)];
        txdata.extend(transactions);
        let header = Header {
            version: Version::TWO,
            prev_blockhash: self.parent,
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.salt,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        while block.header.validate_pow(block.header.target()).is_err() {
            block.header.nonce += 1;
        }
        self.parent = block.block_hash();
        block
    }
}

fn coinbase(salt: u32) -> Transaction {
    let script_sig = script::Builder::new().push_int(i64::from(salt)).push_int(0).into_script();
    let input = TxIn { previous_output: OutPoint::null(), script_sig, sequence: Sequence::MAX, witness: Witness::new() };
    transaction_of(vec![input], vec![TxOut { value: Amount::from_sat(5_000_000_000), script_pubkey: ScriptBuf::new() }])
}

/// A transaction that pays `script` and names `recipient`. The salt makes its id unique.
pub(crate) fn deposit(salt: u8, script: &Script, sats: u64, recipient: Option<Address>) -> Transaction {
    let previous_output = OutPoint { txid: bitcoin::Txid::from_byte_array([salt; 32]), vout: 0 };
    let mut output = vec![TxOut { value: Amount::from_sat(sats), script_pubkey: script.to_owned() }];
    if let Some(recipient) = recipient {
        let script_pubkey = script::Builder::new().push_opcode(OP_RETURN).push_slice(recipient.0.0).into_script();
        output.push(TxOut { value: Amount::ZERO, script_pubkey });
    }
    transaction_of(vec![TxIn { previous_output, sequence: Sequence::MAX, ..TxIn::default() }], output)
}

pub(crate) fn transaction_of(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction { version: transaction::Version::TWO, lock_time: LockTime::ZERO, input, output }
}
