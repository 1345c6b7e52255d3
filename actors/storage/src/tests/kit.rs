//! What the tests share: a chain to commit and a store to commit it to.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use alys_proto::common::{Burn, CommittedBlock, Done, OutPoint};
use alys_proto::storage::{AppendWal, CommitBlock, Document, Head, LedgerDelta, LedgerFact, Minted, PutDocuments, ledger_fact};
use alys_proto::{Message, Refused, Reply, Role};
use tempfile::TempDir;

use crate::config::Config;
use crate::core::commit::ChainId;
use crate::core::form::Hash;
use crate::core::lease::Stamp;
use crate::io::{Fault, Job, Progress, Store, Writer};

pub(crate) const CHAIN: ChainId = ChainId { id: 212_121, genesis: Hash([0xee; 32]), has_work: false };

/// A sender that needs no lease.
const NOBODY: Stamp = Stamp { role: Role::Debug, incarnation: [0; 8], epoch: 0 };

pub(crate) fn hash(height: u64, fork: u8) -> Vec<u8> {
    if height == 0 {
        return CHAIN.genesis.0.to_vec();
    }
    let mut hash = vec![fork; 32];
    hash[..8].copy_from_slice(&height.to_be_bytes());
    hash
}

/// Block `height` of a fork whose parent is of the same fork, with one burn and two facts.
pub(crate) fn block(height: u64, fork: u8) -> CommitBlock {
    let burn = Burn {
        height,
        log_index: 3,
        sender: vec![7; 20],
        bitcoin_address: b"bcrt1q".to_vec(),
        amount_wei: vec![1; 32],
        ..Burn::default()
    };
    let minted =
        Minted { outpoint: Some(OutPoint { txid: hash(height, fork), vout: 1 }), value_sats: height, recipient: vec![9; 20] };
    let facts = vec![
        LedgerFact { height, fact: Some(ledger_fact::Fact::Minted(minted)) },
        LedgerFact { height, fact: Some(ledger_fact::Fact::Burned(burn.clone())) },
    ];
    CommitBlock {
        block: Some(CommittedBlock {
            height,
            hash: hash(height, fork),
            block: vec![fork, 1, 2, 3],
            certificate: vec![4, 5],
            burns: vec![burn],
        }),
        parent_hash: hash(height - 1, fork),
        ledger: Some(LedgerDelta { facts }),
    }
}

/// Blocks 1 to `length`.
pub(crate) fn chain(length: u64) -> Vec<CommitBlock> {
    (1..=length).map(|height| block(height, 0xaa)).collect()
}

pub(crate) fn config(folder: &TempDir) -> Config {
    Config { data_dir: folder.path().join("storage"), min_free_space: 0, ..Config::default() }
}

/// An open store with its writer.
pub(crate) struct Rig {
    pub(crate) store: Arc<Store>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) faults: Receiver<Fault>,
    writer: Writer,
}

impl Rig {
    pub(crate) fn open(config: &Config) -> Self {
        Self::try_open(config).unwrap()
    }

    pub(crate) fn try_open(config: &Config) -> Result<Self, Fault> {
        Self::of(config, CHAIN)
    }

    pub(crate) fn of(config: &Config, chain: ChainId) -> Result<Self, Fault> {
        let store = Arc::new(Store::open(config, chain)?);
        let progress = Arc::<Progress>::default();
        let (sender, faults) = channel();
        let writer = Writer::start(store.clone(), progress.clone(), move |fault| drop(sender.send(fault)))?;
        Ok(Self { store, progress, faults, writer })
    }

    /// Queues a commit; the answer comes through the receiver.
    pub(crate) fn send_commit(&self, request: CommitBlock) -> Answer<Head> {
        let (reply, answer) = Answer::new();
        self.send(Job::commit(NOBODY, vec![request], reply));
        answer
    }

    pub(crate) fn send_put(&self, owner: &str, key: &str, value: &[u8]) -> Answer<Done> {
        let (reply, answer) = Answer::new();
        let document = Document { owner: owner.into(), key: key.into(), value: value.to_vec() };
        self.send(Job::documents(NOBODY, PutDocuments { documents: vec![document] }, reply));
        answer
    }

    pub(crate) fn send_wal(&self, height: u64, entries: &[&[u8]]) -> Answer<Done> {
        let (reply, answer) = Answer::new();
        let entries = entries.iter().map(|entry| entry.to_vec()).collect();
        self.send(Job::wal(NOBODY, AppendWal { height, entries }, reply));
        answer
    }

    pub(crate) fn commit(&self, request: CommitBlock) -> Result<Head, Refused> {
        self.send_commit(request).wait()
    }

    /// All in one transaction.
    pub(crate) fn commit_all(&self, requests: Vec<CommitBlock>) -> Result<Head, Refused> {
        self.send_commits(requests).wait()
    }

    /// Queues them; the answer comes through the receiver.
    pub(crate) fn send_commits(&self, requests: Vec<CommitBlock>) -> Answer<Head> {
        let (reply, answer) = Answer::new();
        self.send(Job::commit(NOBODY, requests, reply));
        answer
    }

    pub(crate) fn put(&self, owner: &str, key: &str, value: &[u8]) -> Result<Done, Refused> {
        self.send_put(owner, key, value).wait()
    }

    pub(crate) fn append_wal(&self, height: u64, entries: &[&[u8]]) -> Result<Done, Refused> {
        self.send_wal(height, entries).wait()
    }

    fn send(&self, job: Job) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(self.writer.write(job));
    }

    /// Ends the writer and closes the file.
    pub(crate) fn close(self) {
        self.writer.stop();
        Arc::into_inner(self.store).unwrap().close().unwrap();
    }
}

/// A reply port and where its answer arrives.
pub(crate) struct Answer<T> {
    answers: Receiver<Result<Vec<u8>, Refused>>,
    reply: std::marker::PhantomData<T>,
}

impl<T: Message + Default> Answer<T> {
    pub(crate) fn new() -> (Reply<T>, Self) {
        let (sender, answers) = channel();
        let reply = Reply::new(Box::new(move |answer| drop(sender.send(answer))));
        (reply, Self { answers, reply: std::marker::PhantomData })
    }

    pub(crate) fn wait(self) -> Result<T, Refused> {
        let answer = self.answers.recv_timeout(std::time::Duration::from_secs(30)).expect("an answer within 30 s");
        answer.map(|bytes| T::decode(bytes.as_slice()).unwrap())
    }
}
