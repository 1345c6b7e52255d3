//! A small world for the tests: a Bitcoin chain with real transactions and headers, a federation of three, one validator,
//! and sidechain blocks with real hashes, certificates and payloads. Used by the tables of the core and by the end-to-end test.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bloom, FixedBytes, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3};
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_blocks::{
    BitcoinView, Block, Body, BurnRef, Certificate, ChainSpec, CommitSignature, Header, Vote, VoteKind, encode_payload,
};
use alys_peg::{
    Burn, Decision, Deposit, Fact, Federation, FeeRate, InclusionProof, Ledger, Minted, PayoutRecorded, PayoutSettled,
    PegInProof, Refunded, deposit, payout, txid_to_bytes, withdrawals,
};
use alys_proto::common::CommittedBlock;
use alys_proto::stream::RequestFederationSignatures;
use alys_proto::{Height, Sats};
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header as BitcoinHeader, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid, XOnlyPublicKey,
};
use malachite_ed25519::PrivateKey;
use ssz_types::VariableList;

pub const NAMES: [&str; 3] = ["ada", "bob", "cyd"];
pub const BTC: u64 = 100_000_000;
pub const CONFIRMATIONS: u32 = 3;
pub const RATE: FeeRate = FeeRate(5_000);

pub fn secret(member: usize) -> SecretKey {
    SecretKey::from_slice(&[member as u8 + 1; 32]).unwrap()
}

pub fn public(member: usize) -> XOnlyPublicKey {
    Keypair::from_secret_key(&Secp256k1::new(), &secret(member)).x_only_public_key().0
}

pub fn validator() -> PrivateKey {
    PrivateKey::from([9; 32])
}

pub fn spec() -> ChainSpec {
    let member = |(number, name): (usize, &&str)| FederationMember {
        name: (*name).to_owned(),
        public_key: B256::from(public(number).serialize()),
    };
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![B256::from(*validator().public_key().as_bytes())],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: CONFIRMATIONS, start_height: 0 },
        federation: FederationSpec { threshold: 2, members: NAMES.iter().enumerate().map(member).collect() },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

/// One Bitcoin block.
#[derive(Clone)]
pub struct BitcoinBlock {
    pub header: BitcoinHeader,
    pub transactions: Vec<Transaction>,
}

/// A Bitcoin chain; block 0 is at height 0.
#[derive(Clone, Default)]
pub struct BitcoinChain {
    pub blocks: Vec<BitcoinBlock>,
}

impl BitcoinChain {
    pub fn tip(&self) -> u32 {
        self.blocks.len() as u32 - 1
    }

    pub fn view(&self) -> BitcoinView {
        let header = &self.blocks.last().unwrap().header;
        BitcoinView { hash: B256::from(header.block_hash().to_byte_array()), height: self.tip() }
    }

    pub fn mine(&mut self, mut transactions: Vec<Transaction>) -> u32 {
        let height = self.blocks.len() as u32;
        let mut block = vec![coinbase(height)];
        block.append(&mut transactions);
        let txids: Vec<Txid> = block.iter().map(Transaction::compute_txid).collect();
        let root = bitcoin::merkle_tree::calculate_root(txids.iter().map(|txid| txid.to_raw_hash())).unwrap();
        let prev_blockhash = self.blocks.last().map_or_else(BlockHash::all_zeros, |parent| parent.header.block_hash());
        let mut header = BitcoinHeader {
            version: Version::TWO,
            prev_blockhash,
            merkle_root: TxMerkleNode::from_raw_hash(root),
            time: 1_700_000_000 + height,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        self.blocks.push(BitcoinBlock { header, transactions: block });
        height
    }

    pub fn mine_empty(&mut self, count: u32) {
        for _ in 0..count {
            self.mine(Vec::new());
        }
    }

    pub fn inclusion(&self, txid: Txid) -> (InclusionProof, u32) {
        let found = self.blocks.iter().position(|block| block.transactions.iter().any(|tx| tx.compute_txid() == txid)).unwrap();
        let block = &self.blocks[found];
        let txids: Vec<Txid> = block.transactions.iter().map(Transaction::compute_txid).collect();
        (InclusionProof::new(txid, &block.header, &txids, found as u32).unwrap(), found as u32)
    }

    /// Confirmed and unspent: output and confirmations.
    pub fn unspent(&self, outpoint: &OutPoint) -> Option<(TxOut, u32)> {
        let spent = self
            .blocks
            .iter()
            .flat_map(|block| &block.transactions)
            .flat_map(|tx| &tx.input)
            .any(|input| input.previous_output == *outpoint);
        let (height, transaction) = self.blocks.iter().enumerate().find_map(|(height, block)| {
            block.transactions.iter().find(|tx| tx.compute_txid() == outpoint.txid).map(|tx| (height as u32, tx))
        })?;
        let output = transaction.output.get(outpoint.vout as usize)?.clone();
        (!spent).then(|| (output, self.tip() - height + 1))
    }
}

fn coinbase(height: u32) -> Transaction {
    let script_sig = ScriptBuf::builder().push_int(i64::from(height)).push_int(7).into_script();
    let input = TxIn { script_sig, sequence: Sequence::MAX, ..TxIn::default() };
    let output = TxOut { value: Amount::from_sat(50 * BTC), script_pubkey: ScriptBuf::new_op_return([1]) };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    }
}

/// A transaction that deposits; `salt` makes it unique.
pub fn deposit_transaction(federation: &Federation, sats: u64, recipient: Address, salt: u8) -> Transaction {
    let previous_output = OutPoint { txid: Txid::from_byte_array([salt; 32]), vout: 0 };
    let input = TxIn { previous_output, sequence: Sequence::MAX, ..TxIn::default() };
    let pays = TxOut { value: Amount::from_sat(sats), script_pubkey: federation.script_pubkey().to_owned() };
    let names = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return(recipient.into_array()) };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![pays, names],
    }
}

/// What a block is to state.
#[derive(Default)]
pub struct Statement {
    pub peg_ins: Vec<PegInProof>,
    pub payouts: Vec<PayoutRecorded>,
    pub settlements: Vec<Txid>,
    pub refunds: Vec<Refunded>,
    pub burns: Vec<Burn>,
}

/// Both chains.
pub struct World {
    pub spec: ChainSpec,
    pub federation: Federation,
    pub bitcoin: BitcoinChain,
    pub blocks: Vec<CommittedBlock>,
    pub ledger: Ledger,
    certificate: Certificate,
    head: (B256, u64),
}

impl World {
    pub fn new() -> Self {
        let spec = spec();
        let mut bitcoin = BitcoinChain::default();
        bitcoin.mine_empty(10);
        Self {
            federation: Federation::try_from(&spec).unwrap(),
            ledger: Ledger::of(&spec).unwrap(),
            head: (spec.genesis_hash(), 0),
            certificate: Certificate::default(),
            blocks: Vec::new(),
            bitcoin,
            spec,
        }
    }

    /// Puts a deposit on Bitcoin and buries it deep enough.
    pub fn deposit(&mut self, sats: u64, salt: u8) -> PegInProof {
        let proof = self.shallow_deposit(sats, salt);
        self.bitcoin.mine_empty(CONFIRMATIONS - 1);
        proof
    }

    pub fn shallow_deposit(&mut self, sats: u64, salt: u8) -> PegInProof {
        let transaction = deposit_transaction(&self.federation, sats, Address::repeat_byte(salt), salt);
        let height = self.bitcoin.mine(vec![transaction.clone()]);
        self.proof(&transaction, height)
    }

    pub fn proof(&self, transaction: &Transaction, height: u32) -> PegInProof {
        let found: Deposit = deposit::find(transaction, &self.federation, self.ledger.rules()).remove(0).unwrap();
        let block = &self.bitcoin.blocks[height as usize];
        let txids: Vec<Txid> = block.transactions.iter().map(Transaction::compute_txid).collect();
        PegInProof::new(&found, transaction, &block.header, &txids, height).unwrap()
    }

    /// Commits the next block.
    pub fn commit(&mut self, statement: &Statement) -> CommittedBlock {
        let committed = self.next(statement);
        self.ledger.apply(Height(committed.height), &facts(statement, &self.bitcoin)).unwrap();
        let certificate = Certificate::decode(&committed.certificate).unwrap();
        self.head = (certificate.block, committed.height);
        self.certificate = certificate;
        self.blocks.push(committed.clone());
        committed
    }

    /// The next block, without committing it.
    pub fn next(&self, statement: &Statement) -> CommittedBlock {
        self.next_with(statement, |_, _| {})
    }

    /// The next block after a change that leaves it well-formed and certified.
    pub fn next_with(&self, statement: &Statement, change: impl FnOnce(&mut Header, &mut Body)) -> CommittedBlock {
        let height = self.head.1 + 1;
        let minted: Vec<Minted> =
            statement.peg_ins.iter().map(|p| Minted { outpoint: p.outpoint, value: p.value, recipient: p.recipient }).collect();
        let justified = withdrawals::justified(&self.ledger, &minted, &statement.refunds).unwrap();
        let mut body =
            Body::empty(self.certificate.clone(), VariableList::new(encode_payload(&payload(height, &justified))).unwrap());
        body.peg_ins = VariableList::new(statement.peg_ins.iter().map(|claim| claim.try_into().unwrap()).collect()).unwrap();
        body.payouts = VariableList::new(statement.payouts.iter().map(|claim| claim.try_into().unwrap()).collect()).unwrap();
        body.refunds = VariableList::new(statement.refunds.iter().map(Into::into).collect()).unwrap();
        let settle = |txid: &Txid| (&self.bitcoin.inclusion(*txid).0).try_into().unwrap();
        body.settlements = VariableList::new(statement.settlements.iter().map(settle).collect()).unwrap();
        let mut header = Header {
            version: alys_blocks::BLOCK_VERSION,
            chain_id: self.spec.chain_id,
            height,
            slot: height,
            time: self.spec.genesis_time + 2 * height,
            proposer: self.spec.proposer(height).unwrap(),
            parent: self.head.0,
            bitcoin_view: self.bitcoin.view(),
            body_root: B256::ZERO,
        };
        change(&mut header, &mut body);
        let block = Block::new(header, body);
        let hash = self.spec.domain().block_hash(&block.header);
        CommittedBlock {
            height,
            hash: hash.to_vec(),
            block: block.encode(),
            certificate: certify(&self.spec, height, hash).encode(),
            burns: statement.burns.iter().map(Into::into).collect(),
        }
    }

    /// A minted deposit and a committed burn, and the payout that follows from them, recorded: ready to be signed.
    /// A block in which these members decide something.
    pub fn deciding(&self, decision: Decision, members: &[usize]) -> CommittedBlock {
        let domain = self.spec.domain();
        let mut parts = members.iter().map(|member| decision.sign(&domain, *member, &secret(*member)));
        let mut record = parts.next().unwrap();
        parts.for_each(|part| record.approvals.push(part.approvals[0]).unwrap());
        self.next_with(&Statement::default(), |_, body| {
            body.governance = VariableList::new(vec![VariableList::new(record.encode()).unwrap()]).unwrap();
        })
    }

    pub fn ready_to_sign(&mut self) -> RequestFederationSignatures {
        let proof = self.deposit(BTC, 21);
        self.commit(&Statement { peg_ins: vec![proof], ..Statement::default() });
        let burns = vec![self.burn(0, 40_000_000)];
        self.commit(&Statement { burns, ..Statement::default() });
        self.record_payout()
    }

    pub fn record_payout(&mut self) -> RequestFederationSignatures {
        let recorded = payout::plan(&self.ledger, RATE).unwrap().recorded();
        let committed = self.commit(&Statement { payouts: vec![recorded.clone()], ..Statement::default() });
        self.request(&recorded, committed.height)
    }

    pub fn request(&self, recorded: &PayoutRecorded, height: u64) -> RequestFederationSignatures {
        RequestFederationSignatures { payout: Some(recorded.into()), height, psbt: Vec::new() }
    }

    /// A burn in the next block.
    pub fn burn(&self, log_index: u32, sats: u64) -> Burn {
        let pair = Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[77; 32]).unwrap());
        let address = bitcoin::Address::p2tr(&Secp256k1::new(), pair.x_only_public_key().0, None, bitcoin::Network::Regtest);
        Burn {
            id: BurnRef { height: self.head.1 + 1, log_index },
            transaction_hash: B256::repeat_byte(1),
            sender: Address::repeat_byte(9),
            bitcoin_address: address.to_string().into_bytes(),
            amount: Sats(sats).to_wei(),
        }
    }
}

fn facts(statement: &Statement, bitcoin: &BitcoinChain) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    facts.extend(
        statement.peg_ins.iter().map(|p| Fact::Minted(Minted { outpoint: p.outpoint, value: p.value, recipient: p.recipient })),
    );
    facts.extend(statement.refunds.iter().copied().map(Fact::Refunded));
    facts.extend(statement.payouts.iter().cloned().map(Fact::PayoutRecorded));
    facts.extend(statement.settlements.iter().map(|txid| {
        let (proof, height) = bitcoin.inclusion(*txid);
        Fact::PayoutSettled(PayoutSettled { txid: *txid, bitcoin_block: BitcoinView { hash: proof.block_hash(), height } })
    }));
    facts.extend(statement.burns.iter().cloned().map(Fact::Burned));
    facts
}

pub fn certify(spec: &ChainSpec, height: u64, block: B256) -> Certificate {
    let validator = validator();
    let id = B256::from(*validator.public_key().as_bytes());
    let vote = Vote { kind: VoteKind::Precommit.code(), height, round: 0, block, validator: id };
    let signature = validator.sign(spec.domain().vote_root(&vote).as_slice());
    let signature = CommitSignature { validator: id, signature: FixedBytes(signature.to_bytes()) };
    Certificate { height, round: 0, block, signatures: VariableList::new(vec![signature]).unwrap() }
}

fn payload(height: u64, justified: &[alys_peg::Withdrawal]) -> ExecutionPayloadV3 {
    let withdrawals = justified
        .iter()
        .map(|w| Withdrawal { index: w.index, validator_index: 0, address: w.recipient, amount: w.gwei })
        .collect();
    let payload_inner = ExecutionPayloadV1 {
        parent_hash: B256::ZERO,
        fee_recipient: Address::ZERO,
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        logs_bloom: Bloom::ZERO,
        prev_randao: B256::ZERO,
        block_number: height,
        gas_limit: 30_000_000,
        gas_used: 0,
        timestamp: 0,
        extra_data: Default::default(),
        base_fee_per_gas: U256::from(1),
        block_hash: B256::ZERO,
        transactions: Vec::new(),
    };
    ExecutionPayloadV3 { payload_inner: ExecutionPayloadV2 { payload_inner, withdrawals }, blob_gas_used: 0, excess_blob_gas: 0 }
}

/// Txid as messages carry it.
pub fn txid_bytes(txid: Txid) -> Vec<u8> {
    txid_to_bytes(txid).to_vec()
}
