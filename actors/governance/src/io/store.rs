//! Our own database (redb): how far the replay is and what every block stated, and everything that was ever signed.
//!
//! Facts are chained by a digest, so a database that was damaged or edited is noticed when it is opened: the facts are
//! folded again from the first to the last. Signatures are on disk before they are sent [PEG-6].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use alys_blocks::BurnRef;
use alys_cluster::guard::guard;
use alys_peg::{Fact, PayoutRecorded, WireError};
use alys_proto::Height;
use alys_proto::Message as _;
use alys_proto::governance::Signatures;
use alys_proto::storage::{self, LedgerDelta};
use bitcoin::Txid;
use bitcoin::hashes::{Hash as _, sha256};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::core::replay::Head;
use crate::core::signed::{SignedBook, SignedPayout};

const SCHEMA: u32 = 1;
const FILE: &str = "governance.redb";
const UNFINISHED: &str = "governance.redb.new";
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Height → `LedgerDelta`; only heights that state something.
const FACTS: TableDefinition<u64, &[u8]> = TableDefinition::new("facts");
/// Txid → `PayoutRecorded`: what was signed.
const SIGNED: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("signed_payouts");
/// Txid → `Signatures`: with what.
const SIGNATURES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("signatures");
const STATE: &str = "state";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made.
    #[error("cannot make `{}`", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("no space is left for `{}`: nothing signed is lost; free space or enlarge the disk, the node then starts again by itself", .file.display())]
    Full {
        /// Which.
        file: PathBuf,
    },
    /// Another process has it.
    #[error("`{}` is open in another process: stop it, or give this node a data_dir of its own", .file.display())]
    InUse {
        /// Which.
        file: PathBuf,
    },
    /// redb or the operating system says no.
    #[error("`{}` cannot be used: check disk and permissions", .file.display())]
    Database {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// It belongs to another chain or to a newer program.
    #[error("`{}` is of {what}; give each governance node a data_dir of its own", .file.display())]
    Foreign {
        /// Which.
        file: PathBuf,
        /// Another what.
        what: &'static str,
    },
    /// What is in it contradicts itself.
    #[error("`{}` is damaged ({what}): keep it for inspection; a signer without its record of signatures must not sign", .file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// What does not fit.
        what: String,
    },
}

/// Last stored head and the digest of all facts up to it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoredState {
    schema: u32,
    genesis: B256,
    head: Head,
    digest: B256,
}

/// The open database. One process at a time.
pub struct Store {
    file: PathBuf,
    database: Database,
    state: StoredState,
}

/// What was found when it was opened.
pub struct Found {
    /// The stored head; `None` before the first block.
    pub head: Option<Head>,
    /// Facts by height.
    pub facts: Vec<(u64, Vec<Fact>)>,
    /// Everything that was signed.
    pub signed: SignedBook,
}

impl Store {
    /// Opens or makes the database of one chain, and checks it.
    pub fn open(folder: &Path, genesis: Head) -> Result<(Self, Found), StoreError> {
        // The library panics on some altered files.
        guard(|| Self::open_or_create(folder, genesis))
            .unwrap_or_else(|what| Err(StoreError::Damaged { file: folder.join(FILE), what }))
    }

    fn open_or_create(folder: &Path, genesis: Head) -> Result<(Self, Found), StoreError> {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder { folder: folder.to_owned(), source })?;
        let file = folder.join(FILE);
        let unreadable = |cause: std::io::Error| failed(&file, redb::Error::Io(cause));
        if !file.try_exists().map_err(unreadable)? {
            create(folder, &file)?;
        }
        if std::fs::metadata(&file).map_err(unreadable)?.len() == 0 {
            return Err(StoreError::Damaged { file, what: "the file is empty".into() });
        }
        let database = Database::open(&file).map_err(|cause| failed(&file, cause))?;
        let fresh = StoredState { schema: SCHEMA, genesis: genesis.hash, head: genesis, digest: B256::ZERO };
        let mut store = Self { file, database, state: fresh };
        let found = store.load()?;
        Ok((store, found))
    }

    fn load(&mut self) -> Result<Found, StoreError> {
        let make_tables = || -> Result<(), redb::Error> {
            let write = self.database.begin_write()?;
            write.open_table(META)?;
            write.open_table(FACTS)?;
            write.open_table(SIGNED)?;
            write.open_table(SIGNATURES)?;
            Ok(write.commit()?)
        };
        make_tables().map_err(|cause| failed(&self.file, cause))?;
        let state = self.read_state()?;
        let facts = self.read_facts()?;
        let signed = self.read_signed()?;
        let mut digest = B256::ZERO;
        let mut typed = Vec::with_capacity(facts.len());
        for (height, bytes) in &facts {
            digest = chain(digest, *height, bytes);
            typed.push((
                *height,
                decode_facts(bytes).map_err(|cause| self.damaged(format!("facts of height {height}: {cause}")))?,
            ));
        }
        let Some(state) = state else {
            return if facts.is_empty() {
                Ok(Found { head: None, facts: typed, signed })
            } else {
                Err(self.damaged("facts without a head".into()))
            };
        };
        if state.schema != SCHEMA {
            return Err(StoreError::Foreign { file: self.file.clone(), what: "another version of this program" });
        }
        if state.genesis != self.state.genesis {
            return Err(StoreError::Foreign { file: self.file.clone(), what: "another chain" });
        }
        if digest != state.digest || facts.last().is_some_and(|(height, _)| *height > state.head.height) {
            return Err(self.damaged("the facts are not the ones that were stored".into()));
        }
        self.state = state;
        Ok(Found { head: Some(state.head), facts: typed, signed })
    }

    fn read_state(&self) -> Result<Option<StoredState>, StoreError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(META)?;
            Ok(table.get(STATE)?.map(|value| value.value().to_vec()))
        };
        let bytes = read().map_err(|cause| failed(&self.file, cause))?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|cause| self.damaged(format!("head: {cause}")))).transpose()
    }

    fn read_facts(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(FACTS)?;
            let mut facts = Vec::new();
            for entry in table.iter()? {
                let (height, bytes) = entry?;
                facts.push((height.value(), bytes.value().to_vec()));
            }
            Ok(facts)
        };
        read().map_err(|cause| failed(&self.file, cause))
    }

    fn read_signed(&self) -> Result<SignedBook, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(SIGNED)?;
            let mut signed = Vec::new();
            for entry in table.iter()? {
                signed.push(entry?.1.value().to_vec());
            }
            Ok(signed)
        };
        let mut book = SignedBook::default();
        for bytes in read().map_err(|cause| failed(&self.file, cause))? {
            let recorded = storage::PayoutRecorded::decode(bytes.as_slice())
                .map_err(|cause| self.damaged(format!("signed payout: {cause}")))?;
            let recorded =
                PayoutRecorded::try_from(&recorded).map_err(|cause| self.damaged(format!("signed payout: {cause}")))?;
            book.note(recorded.txid(), signed_payout(&recorded));
        }
        Ok(book)
    }

    /// Stores the facts of blocks and the head they lead to, in one transaction.
    pub fn advance(&mut self, head: Head, blocks: &[(u64, Vec<Fact>)]) -> Result<(), StoreError> {
        let mut state = StoredState { head, ..self.state };
        let mut write = || -> Result<StoredState, redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut facts = transaction.open_table(FACTS)?;
                for (height, stated) in blocks.iter().filter(|(_, stated)| !stated.is_empty()) {
                    let delta = LedgerDelta { facts: stated.iter().map(|fact| fact.at(Height(*height))).collect() };
                    let bytes = delta.encode_to_vec();
                    state.digest = chain(state.digest, *height, &bytes);
                    facts.insert(height, bytes.as_slice())?;
                }
                let encoded = serde_json::to_vec(&state).expect("a head holds nothing that JSON lacks");
                transaction.open_table(META)?.insert(STATE, encoded.as_slice())?;
            }
            transaction.commit()?;
            Ok(state)
        };
        self.state = write().map_err(|cause| failed(&self.file, cause))?;
        Ok(())
    }

    /// Stores what is about to be signed together with its signatures; on disk when this returns.
    pub fn record_signed(&self, recorded: &PayoutRecorded, signatures: &Signatures) -> Result<(), StoreError> {
        let payout = storage::PayoutRecorded::from(recorded).encode_to_vec();
        let txid = recorded.txid().to_byte_array();
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(SIGNED)?.insert(&txid, payout.as_slice())?;
            transaction.open_table(SIGNATURES)?.insert(&txid, signatures.encode_to_vec().as_slice())?;
            Ok(transaction.commit()?)
        };
        write().map_err(|cause| failed(&self.file, cause))
    }

    /// The signatures that were made for a transaction.
    pub fn signatures(&self, txid: &Txid) -> Result<Option<Signatures>, StoreError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(SIGNATURES)?;
            Ok(table.get(&txid.to_byte_array())?.map(|value| value.value().to_vec()))
        };
        let bytes = read().map_err(|cause| failed(&self.file, cause))?;
        bytes
            .map(|bytes| Signatures::decode(bytes.as_slice()).map_err(|cause| self.damaged(format!("signatures: {cause}"))))
            .transpose()
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { file: self.file.clone(), what }
    }
}

/// Inputs and burns of a payout, as the book keeps them.
pub(crate) fn signed_payout(recorded: &PayoutRecorded) -> SignedPayout {
    let inputs = recorded.transaction.input.iter().map(|input| input.previous_output);
    let burns: BTreeSet<BurnRef> = recorded.burns.iter().copied().collect();
    SignedPayout { inputs: inputs.collect(), burns }
}

fn decode_facts(bytes: &[u8]) -> Result<Vec<Fact>, String> {
    let delta = LedgerDelta::decode(bytes).map_err(|cause| cause.to_string())?;
    let facts: Result<Vec<Fact>, WireError> = delta.facts.iter().map(Fact::try_from).collect();
    facts.map_err(|cause| cause.to_string())
}

fn chain(digest: B256, height: u64, bytes: &[u8]) -> B256 {
    let mut preimage = Vec::with_capacity(bytes.len().saturating_add(40));
    preimage.extend_from_slice(digest.as_slice());
    preimage.extend_from_slice(&height.to_be_bytes());
    preimage.extend_from_slice(bytes);
    B256::from(sha256::Hash::hash(&preimage).to_byte_array())
}

/// Beside its place and moved there when it is whole: an empty file is never a crash of ours.
fn create(folder: &Path, file: &Path) -> Result<(), StoreError> {
    let unfinished = folder.join(UNFINISHED);
    let make = || -> Result<(), redb::Error> {
        match std::fs::remove_file(&unfinished) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(redb::Error::Io(cause)),
            _ => {}
        }
        drop(Database::create(&unfinished)?);
        let moved = std::fs::rename(&unfinished, file).and_then(|()| std::fs::File::open(folder)?.sync_all());
        moved.map_err(redb::Error::Io)
    };
    make().map_err(|cause| failed(file, cause))
}

fn failed(file: &Path, cause: impl Into<redb::Error>) -> StoreError {
    use std::io::ErrorKind::{InvalidData, QuotaExceeded, StorageFull, UnexpectedEof};
    let (file, source) = (file.to_owned(), cause.into());
    match &source {
        redb::Error::Io(cause) if matches!(cause.kind(), StorageFull | QuotaExceeded) => StoreError::Full { file },
        redb::Error::Io(cause) if !matches!(cause.kind(), InvalidData | UnexpectedEof) => {
            StoreError::Database { file, source: Box::new(source) }
        }
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => StoreError::InUse { file },
        _ => StoreError::Damaged { file, what: source.to_string() },
    }
}
