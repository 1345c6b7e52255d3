//! Opens the database, or makes one, and refuses what is not ours.
//!
//! | `alys.redb` | | result |
//! |---|---|---|
//! | absent | | made beside its place and moved there when it is complete: a crash leaves no half-made one |
//! | present | not a database, empty, or altered | damaged |
//! | present | schema above ours | refused |
//! | present | schema below ours | kept as a copy, then led up step by step |
//! | present | another chain id or genesis | refused |
//! | present | open in another process | locked |

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use alys_cluster::guard::guard;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};

use super::fault::Fault;
use super::leases::Leases;
use super::migrate::{self, LADDER};
use super::tables::{
    BLOCKS, BURNS, CERTIFICATES, DEATHS, DOCUMENTS, FACTS, HANDLED, HEIGHTS, LEASES, LETTER_BODIES, LETTERS, META, META_CHAIN_ID,
    META_GENESIS, META_SCHEMA, OUTBOX, SCHEMA, WAL,
};
use crate::config::{Config, Prune};
use crate::core::commit::ChainId;
use crate::core::form::{self, Hash};

/// Name of the file in the data folder.
pub(crate) const DATABASE_FILE: &str = "alys.redb";
const UNFINISHED_FILE: &str = "alys.redb.new";

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) db: Database,
    pub(super) chain: ChainId,
    pub(super) quick_repair: bool,
    pub(super) prune: Prune,
    pub(super) path: PathBuf,
    pub(super) min_free_space: u64,
    pub(crate) leases: Leases,
}

impl Store {
    /// Opens or makes the database. Blocks; may take long after a crash without quick repair.
    pub(crate) fn open(config: &Config, chain: ChainId) -> Result<Self, Fault> {
        // The library panics on some altered files.
        guard(|| Self::open_or_create(config, chain)).unwrap_or_else(|panic| Err(Fault::Damaged(panic)))
    }

    fn open_or_create(config: &Config, chain: ChainId) -> Result<Self, Fault> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir).map_err(Fault::from_io)?;
        check_space(&config.data_dir, config.min_free_space)?;
        let path = config.data_dir.join(DATABASE_FILE);
        if !path.try_exists().map_err(Fault::from_io)? {
            create(config, chain, &path)?;
        }
        if fs::metadata(&path).map_err(Fault::from_io)?.len() == 0 {
            return Err(Fault::Damaged("the file is empty".into()));
        }
        let db = builder(config).open(&path)?;
        let found = check_meta(&db, chain)?;
        if found < SCHEMA {
            migrate::keep_a_copy(&path, found, config.min_free_space)?;
            migrate::climb(&db, found, &LADDER)?;
        }
        let leases = Leases::restore(&db)?;
        let (quick_repair, min_free_space) = (config.quick_repair, config.min_free_space);
        Ok(Self { db, chain, quick_repair, prune: config.prune, path, min_free_space, leases })
    }

    /// For tests that look at the tables.
    #[cfg(test)]
    pub(crate) const fn db(&self) -> &Database {
        &self.db
    }

    /// Closes the file. Errors are faults of the last flush; what was acknowledged is on disk already.
    pub(crate) fn close(self) -> Result<(), Fault> {
        Ok(self.db.close()?)
    }
}

fn builder(config: &Config) -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(usize::try_from(config.cache_size).unwrap_or(usize::MAX))
        .set_check_integrity_on_open(config.check_on_open);
    builder
}

fn create(config: &Config, chain: ChainId, path: &Path) -> Result<(), Fault> {
    let unfinished = config.data_dir.join(UNFINISHED_FILE);
    remove_if_there(&unfinished)?;
    let db = builder(config).create(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)).map_err(Fault::from_io)?;
    let transaction = db.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_SCHEMA, SCHEMA.to_le_bytes().as_slice())?;
        meta.insert(META_CHAIN_ID, chain.id.to_le_bytes().as_slice())?;
        meta.insert(META_GENESIS, chain.genesis.0.as_slice())?;
    }
    make_tables(&transaction)?;
    transaction.commit()?;
    db.close()?;
    fs::rename(&unfinished, path).map_err(Fault::from_io)?;
    sync_folder(&config.data_dir)
}

/// A read of a table that does not exist yet would be an error: all of them exist from the start.
pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(BLOCKS)?;
    transaction.open_table(HEIGHTS)?;
    transaction.open_table(CERTIFICATES)?;
    transaction.open_table(BURNS)?;
    transaction.open_table(FACTS)?;
    transaction.open_table(WAL)?;
    transaction.open_table(DOCUMENTS)?;
    transaction.open_table(LEASES)?;
    transaction.open_table(OUTBOX)?;
    transaction.open_table(HANDLED)?;
    transaction.open_table(DEATHS)?;
    transaction.open_table(LETTERS)?;
    transaction.open_table(LETTER_BODIES)?;
    Ok(())
}

/// What was renamed in a folder is so after a power cut too.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Fault> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Fault::from_io)
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Fault::from_io(error)),
        _ => Ok(()),
    }
}

pub(super) fn check_space(folder: &Path, wanted: u64) -> Result<(), Fault> {
    let space = rustix::fs::statvfs(folder).map_err(|error| Fault::from_io(error.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < wanted { Err(Fault::NoSpace(None)) } else { Ok(()) }
}

/// Its schema, if it is of this chain and of a schema that we know.
pub(super) fn check_meta(db: &impl ReadableDatabase, chain: ChainId) -> Result<u64, Fault> {
    let transaction = db.begin_read()?;
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Err(Fault::Damaged("it is a redb file, but not of alys".into())),
        other => other?,
    };
    let schema = number(&meta, META_SCHEMA)?;
    if schema > SCHEMA {
        return Err(Fault::NewerSchema { found: schema, known: SCHEMA });
    }
    if schema == 0 {
        return Err(Fault::Damaged("schema 0 never existed".into()));
    }
    let found_id = number(&meta, META_CHAIN_ID)?;
    let found = genesis(&meta)?;
    if found_id != chain.id || found != chain.genesis {
        return Err(Fault::OtherChain { found_id, found, wanted_id: chain.id, wanted: chain.genesis });
    }
    Ok(schema)
}

/// A number of the meta table.
pub(super) fn number(meta: &impl ReadableTable<&'static str, &'static [u8]>, key: &str) -> Result<u64, Fault> {
    optional_number(meta, key)?.ok_or_else(|| Fault::Damaged(format!("{key} is missing")))
}

/// A number of the meta table that may not have been written yet.
pub(super) fn optional_number(meta: &impl ReadableTable<&'static str, &'static [u8]>, key: &str) -> Result<Option<u64>, Fault> {
    let Some(value) = meta.get(key)? else { return Ok(None) };
    let bytes = <[u8; 8]>::try_from(value.value()).map_err(|_| Fault::Damaged(format!("{key} is not a number")))?;
    Ok(Some(u64::from_le_bytes(bytes)))
}

fn genesis(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Hash, Fault> {
    let value = meta.get(META_GENESIS)?.ok_or_else(|| Fault::Damaged("genesis is missing".into()))?;
    form::hash("genesis", value.value()).map_err(|malformed| Fault::Damaged(malformed.to_string()))
}
