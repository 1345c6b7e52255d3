//! `kill -9` of a process that commits, at random moments of a commit: what it leaves opens, head and state agree, no block
//! that it called committed is lost, and the next process goes on from there.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope, TxReceipt};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use alloy_signer::SignerSync as _;
use alloy_trie::{HashBuilder, Nibbles};
use alys_blocks::FEE_SINK;
use alys_engine::core::block::ExecutedBlock;
use alys_engine::core::build::{self, Attributes};
use alys_engine::core::memory::MemoryState;
use alys_engine::core::state::AccountRecord;
use alys_engine::core::{genesis, trie};
use alys_engine::engine::{Engine, Execution};
use alys_engine::io::store::{Options, Store};
use alys_engine::io::{codec, tables};
use common::{CHAIN_ID, rich, spec};
use redb::{Database, ReadableDatabase as _, ReadableTable as _};

/// Moments inside of a commit at which a process is killed.
const KILLS: u32 = 200;
/// Every so many processes one is killed while it opens its database instead.
const OPENINGS: u32 = 8;
/// Blocks of the chain. A database that has them all is put away for an empty one.
const BLOCKS: u64 = 100;
/// Most commits that a process may finish before it is killed in the next.
const COMMITS: u64 = 2;

/// Any will do.
const BEACON_ROOT: B256 = B256::repeat_byte(6);

/// Names the folder to the process that is killed.
const FOLDER: &str = "ALYS_TEST_KILL_FOLDER";

/// `for (i = 0; i < calldatasize; i += 64) sstore(calldata[i], calldata[i + 32])`
const WRITER: &[u8] = &hex!("5f 5b 36 81 10 6009 57 00 5b 80 6020 01 35 81 35 55 6040 01 6001 56");

/// The same numbers in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Any time up to this one.
    fn within(&mut self, longest: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(longest.as_nanos()).unwrap().max(1)))
    }
}

/// Both ways to write: the default, and the one whose reopening reads the whole file.
const fn options(quick_repair: bool) -> Options {
    Options { cache_bytes: 8 << 20, quick_repair }
}

fn transaction(nonce: u64, to: TxKind, value: u64, input: Bytes) -> Recovered<TxEnvelope> {
    let unsigned = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to,
        value: U256::from(value),
        input,
        ..TxEip1559::default()
    };
    let signature = rich().sign_hash_sync(&unsigned.signature_hash()).unwrap();
    Recovered::new_unchecked(unsigned.into_signed(signature).into(), rich().address())
}

/// Code that installs the writer: PUSH1 length, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN.
fn installing_the_writer() -> Bytes {
    let length = u8::try_from(WRITER.len()).unwrap();
    [[0x60, length, 0x80, 0x60, 10, 0x5f, 0x39, 0x5f, 0xf3, 0x00].as_slice(), WRITER].concat().into()
}

/// Transfers to old and new accounts, and 16 slots of a contract written anew or cleared: all tables and both kinds of tries.
/// Executed in memory, so that the chain does not depend on what is tested.
fn chain() -> Vec<ExecutedBlock> {
    let (rules, mut numbers) = (genesis::rules(&spec()), Numbers(0x5eed));
    let mut state = MemoryState::default();
    let mut blocks = vec![genesis::genesis(&spec()).unwrap()];
    state.apply(&blocks[0]);
    let (writer, mut nonce) = (rich().address().create(0), 0..);
    for number in 1..=BLOCKS {
        let mut transactions = vec![if number == 1 {
            transaction(nonce.next().unwrap(), TxKind::Create, 0, installing_the_writer())
        } else {
            let words = (0..16).flat_map(|_| [numbers.below(64), numbers.below(4) * numbers.below(1 << 40)]);
            let words: Vec<u8> = words.flat_map(|word| U256::from(word).to_be_bytes::<32>()).collect();
            transaction(nonce.next().unwrap(), TxKind::Call(writer), 0, words.into())
        }];
        for _ in 0..4 {
            let to = Address::with_last_byte(u8::try_from(100 + numbers.below(100)).unwrap());
            transactions.push(transaction(nonce.next().unwrap(), TxKind::Call(to), 1 + numbers.below(1_000), Bytes::new()));
        }
        let parent = blocks.last().unwrap();
        let attributes = Attributes {
            timestamp: parent.header().timestamp + 2,
            prev_randao: parent.hash,
            parent_beacon_block_root: BEACON_ROOT,
            fee_recipient: FEE_SINK,
            withdrawals: Vec::new(),
        };
        let built = build::build(&state, &rules, (parent.header(), parent.hash), &attributes, transactions, || false).unwrap();
        assert_eq!(built.block.receipts.len(), 5, "{:?}", built.invalid);
        assert!(built.block.receipts.iter().all(TxReceipt::status));
        state.apply(&built.block);
        blocks.push(built.block);
    }
    blocks
}

fn at(chain: &[ExecutedBlock], number: u64) -> Option<&ExecutedBlock> {
    chain.get(usize::try_from(number).unwrap())
}

fn payload_file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("block-{number}"))
}

/// What the process that is killed says.
fn say(word: &str, value: impl Display) {
    println!("\nkill: {word} {value}");
}

/// Not a test: what the engine role does when chain replays blocks from storage, with news of each step.
#[test]
#[ignore = "run by `a_process_killed_at_any_moment_of_a_commit_leaves_a_database_that_goes_on` as a process of its own"]
fn committing_process() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let quick_repair = folder.join("quick-repair").exists();
    say("opening", 0);
    let mut engine = Engine::open(&folder.join("engine"), options(quick_repair), &spec()).unwrap();
    let head = engine.head().header.number;
    say("opened", head);
    for number in head + 1..=BLOCKS {
        let payload = std::fs::read(payload_file(&folder, number)).unwrap();
        let executed = engine.execute(&payload, BEACON_ROOT).unwrap();
        let Execution::Valid { hash, .. } = executed else { panic!("block {number}: {executed:?}") };
        say("begin", number);
        engine.commit(hash).unwrap();
        say("done", number);
    }
}

/// The process, killed with the value.
struct Committer {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Drop for Committer {
    fn drop(&mut self) {
        // Nothing else can be done about it here.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Committer {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["committing_process", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    /// The next news. `None`: it has ended.
    fn next(&mut self) -> Option<(String, u64)> {
        loop {
            let line = self.said.next()?.unwrap();
            let Some((word, value)) = line.strip_prefix("kill: ").and_then(|news| news.split_once(' ')) else { continue };
            return Some((word.to_owned(), value.parse().unwrap()));
        }
    }

    fn expect(&mut self, wanted: &str) -> u64 {
        let (word, value) = self.next().expect("the process has ended of its own");
        assert_eq!(word, wanted);
        value
    }

    /// Ends it with SIGKILL, and what it had said until then.
    fn kill(mut self) -> Vec<(String, u64)> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Opens what a killed process left and compares everything with everything. Answers the head. In a copy: the next process
/// gets the file as it is, and has to mend it itself.
fn inspect(folder: &Path, chain: &[ExecutedBlock], quick_repair: bool) -> u64 {
    let (left, copy) = (folder.join("engine/engine.redb"), tempfile::tempdir().unwrap());
    // Who is killed early has made no file yet.
    if left.exists() {
        std::fs::copy(left, copy.path().join("engine.redb")).unwrap();
    }
    let store = Store::open(copy.path(), options(quick_repair), &chain[0]).unwrap();
    let snapshot = store.snapshot();
    let head = snapshot.head();
    let number = head.header.number;
    assert_eq!(**head, *at(chain, number).unwrap().view(), "the head is a block of the chain, with all that belongs to it");
    assert_eq!(snapshot.number(head.hash).unwrap(), Some(number));
    assert_eq!(snapshot.header(number + 1).unwrap(), None, "nothing of the next block is there");
    let next = at(chain, number + 1);
    assert!(next.is_none_or(|next| snapshot.number(next.hash).unwrap().is_none()));
    let state_root = head.header.state_root;
    drop((snapshot, store));
    flat_state_is(&copy.path().join("engine.redb"), state_root);
    number
}

/// The state root of a header, from the accounts and slots alone; and the tries hold exactly the nodes of that state.
fn flat_state_is(file: &Path, state_root: B256) {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_read().unwrap();
    let mut slots: BTreeMap<Address, BTreeMap<B256, Vec<u8>>> = BTreeMap::new();
    for entry in transaction.open_table(tables::STORAGE).unwrap().iter().unwrap() {
        let (slot, value) = entry.unwrap();
        let (address, slot) = (Address::from_slice(&slot.value()[..20]), keccak256(&slot.value()[20..]));
        let value = codec::decode_word(value.value()).unwrap();
        slots.entry(address).or_default().insert(slot, alloy_rlp::encode(value));
    }
    let stored = |table| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let nodes = transaction.open_table::<&[u8], &[u8]>(table).unwrap();
        let entries = nodes.iter().unwrap().map(|entry| entry.unwrap());
        entries.map(|(path, node)| (path.value().to_vec(), node.value().to_vec())).collect()
    };
    let (mut accounts, mut expected) = (BTreeMap::new(), BTreeMap::new());
    for entry in transaction.open_table(tables::ACCOUNTS).unwrap().iter().unwrap() {
        let (address, account) = entry.unwrap();
        let (address, account) = (Address::from(address.value()), codec::decode_account(account.value()).unwrap());
        let account: AccountRecord = account.unwrap();
        let slots = slots.remove(&address).unwrap_or_default();
        assert_eq!(root(&slots), account.storage_root, "slots of {address}");
        expected.extend(nodes(slots).into_iter().map(|(path, node)| ([address.as_slice(), &path].concat(), node)));
        accounts.insert(keccak256(address), alloy_rlp::encode(account));
    }
    assert!(slots.is_empty(), "slots without an account: {slots:?}");
    assert_eq!(stored(tables::STORAGE_TRIE), expected, "nodes of storage tries");
    assert_eq!(root(&accounts), state_root, "accounts");
    assert_eq!(stored(tables::ACCOUNT_TRIE), nodes(accounts), "nodes of the account trie");
}

/// The root of a whole trie, by other code than the engine's.
fn root(entries: &BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in entries {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    builder.root()
}

/// All nodes of a trie that is made in one go.
fn nodes(entries: BTreeMap<B256, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let update = trie::update(|_| Ok(None), entries.into_iter().map(|(key, value)| (key, Some(value)))).unwrap();
    update.nodes.into_iter().filter_map(|(path, node)| Some((path, node?))).collect()
}

/// A folder with the blocks of the chain and no database.
fn prepare(chain: &[ExecutedBlock], quick_repair: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for block in &chain[1..] {
        let payload = ExecutionPayloadV3::from_block_unchecked(block.hash, &block.block);
        std::fs::write(payload_file(folder.path(), block.header().number), alys_blocks::encode_payload(&payload)).unwrap();
    }
    if quick_repair {
        std::fs::write(folder.path().join("quick-repair"), "").unwrap();
    }
    folder
}

/// What was killed, and where its head was then.
#[derive(Debug, Default)]
struct Tally {
    kept: u32,
    undone: u32,
    between: u32,
    openings: u32,
}

impl Tally {
    const fn inside(&self) -> u32 {
        self.kept + self.undone
    }
}

/// How long a commit and an opening take here, as last seen.
struct Pace {
    commit: Duration,
    opening: Duration,
}

/// One life on a database with the head `known`: it ends at a random moment of a commit, or of the opening. Answers the last
/// block that it called committed, and the one whose commit it had begun.
fn life(folder: &Path, known: u64, numbers: &mut Numbers, pace: &mut Pace, while_opening: bool) -> (u64, Option<u64>) {
    let mut process = Committer::start(folder);
    process.expect("opening");
    let opening = Instant::now();
    let (mut done, mut begun) = (known, None);
    if while_opening {
        std::thread::sleep(numbers.within(pace.opening));
    } else {
        assert_eq!(process.expect("opened"), known);
        pace.opening = opening.elapsed();
        for _ in 0..numbers.below(COMMITS).min(BLOCKS - known - 1) {
            process.expect("begin");
            let beginning = Instant::now();
            done = process.expect("done");
            pace.commit = beginning.elapsed();
        }
        begun = Some(process.expect("begin"));
        std::thread::sleep(numbers.within(pace.commit));
    }
    for (word, number) in process.kill() {
        match word.as_str() {
            "begin" => begun = Some(number),
            "done" => (done, begun) = (number, None),
            _ => {}
        }
    }
    (done, begun)
}

#[test]
fn a_process_killed_at_any_moment_of_a_commit_leaves_a_database_that_goes_on() {
    let started = Instant::now();
    let (chain, mut numbers) = (chain(), Numbers(0xa175));
    let mut tally = Tally::default();
    let mut pace = Pace { commit: Duration::from_millis(5), opening: Duration::from_millis(5) };
    let (mut quick_repair, mut lives, mut known) = (true, 0, 0);
    let mut folder = prepare(&chain, quick_repair);
    while tally.inside() < KILLS {
        lives += 1;
        let while_opening = lives % OPENINGS == 1;
        let (done, begun) = life(folder.path(), known, &mut numbers, &mut pace, while_opening);
        let head = inspect(folder.path(), &chain, quick_repair);
        assert!(head == done || Some(head) == begun, "the head is {head} after {done} was done and {begun:?} begun");
        match begun {
            None if while_opening => tally.openings += 1,
            None => tally.between += 1,
            Some(begun) if head == begun => tally.kept += 1,
            Some(_) => tally.undone += 1,
        }
        known = head;
        if head == BLOCKS {
            quick_repair = !quick_repair;
            folder = prepare(&chain, quick_repair);
            known = 0;
        }
    }
    let mut process = Committer::start(folder.path());
    while process.next().is_some() {}
    assert!(process.child.wait().unwrap().success());
    assert_eq!(inspect(folder.path(), &chain, quick_repair), BLOCKS, "the last one catches up");
    println!("{tally:?}, {lives} lives, in {:?}; a commit takes {:?}", started.elapsed(), pace.commit);
    assert!(tally.kept > 0 && tally.undone > 0, "all on one side: these are no random moments of a commit: {tally:?}");
}
