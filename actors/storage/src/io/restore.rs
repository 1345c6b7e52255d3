//! Puts a backup in the place of a database. Everything is judged on a copy beside that place; one rename decides.
//!
//! What a validator voted for after the backup is not in it. The restored database says so ([`META_VOTES_LOST`]), its
//! consensus log is empty, and chain stays silent until it cannot contradict itself (`docs/adr/0022-storage-depth.md`). Leases
//! are given back under epochs that no holder of before can have.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use alys_blocks::ChainSpec;
use alys_cluster::guard::guard;
use alys_proto::storage::Lease;
use prost::Message as _;
use redb::{Database, ReadableTable as _};

use super::backup::pour;
use super::check::check_open;
use super::fault::Fault;
use super::migrate::{LADDER, beside, climb};
use super::open::{DATABASE_FILE, check_meta, check_space, remove_if_there, sync_folder};
use super::tables::{LEASES, META, META_VOTES_LOST, SCHEMA, WAL};
use crate::config::Config;
use crate::core::backup::{MANIFEST_FILE, Manifest, Misfit, WrongSum};
use crate::core::check::Report;
use crate::core::commit::ChainId;

/// Epochs between the backup's and the first after a restore: more than a lease is granted in the life of a disk.
const EPOCHS_AHEAD: u64 = 1 << 32;

/// What a person decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// A database that is there may be put aside.
    pub force: bool,
    /// The engine's state is of the backup's height and stays where it is.
    pub keep_engine: bool,
    /// No vote was given after the backup that anybody still has: the validator votes at once.
    pub vote_at_once: bool,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Of the backup.
    pub manifest: Manifest,
    /// The database.
    pub database: PathBuf,
    /// The one that was there before.
    pub kept: Option<PathBuf>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFault {
    /// No manifest, or not one.
    #[error("{0} is no backup: {1}")]
    NoBackup(PathBuf, String),
    /// Of another chain, or of another build.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// Nothing is overwritten unasked.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// Not the bytes that were backed up.
    #[error(transparent)]
    Checksum(#[from] WrongSum),
    /// They were damaged before they were backed up, or the manifest is of another database.
    #[error("what the backup holds does not fit together: {}", .0.damages.first().map_or_else(String::new, |damage| format!("block {}: {}", damage.height, damage.text)))]
    Damaged(Box<Report>),
    /// Of the disk.
    #[error(transparent)]
    Disk(#[from] Fault),
}

/// Restores the backup in a folder as the database of `config`; `progress` gets the height that was checked and the head's.
pub fn restore(
    backup: &Path,
    config: &Config,
    spec: &ChainSpec,
    how: How,
    progress: impl FnMut(u64, u64),
) -> Result<Restored, RestoreFault> {
    let manifest = read_manifest(backup)?;
    manifest.fits(ChainId::of(spec), SCHEMA, how.keep_engine)?;
    let folder = &config.data_dir;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Fault::from_io)?;
    let path = folder.join(DATABASE_FILE);
    let old = hold(&path)?;
    if old.is_some() && !how.force {
        return Err(RestoreFault::Exists(path));
    }
    check_space(folder, manifest.bytes.saturating_add(config.min_free_space))?;
    let unfinished = beside(&path, "restoring");
    let restored = take_over(&backup.join(DATABASE_FILE), &unfinished, &manifest, spec, how, progress).and_then(|()| {
        let kept = old.is_some().then(|| keep(&path)).transpose()?;
        fs::rename(&unfinished, &path).map_err(Fault::from_io)?;
        sync_folder(folder)?;
        Ok(Restored { manifest, database: path, kept })
    });
    if restored.is_err() {
        // What cannot be removed is removed by the next attempt.
        let _left = remove_if_there(&unfinished);
    }
    restored
}

/// The manifest of the backup in a folder.
pub(super) fn read_manifest(backup: &Path) -> Result<Manifest, RestoreFault> {
    let path = backup.join(MANIFEST_FILE);
    let no_backup = |cause: String| RestoreFault::NoBackup(backup.to_owned(), format!("{MANIFEST_FILE}: {cause}"));
    let text = fs::read(&path).map_err(|cause| no_backup(cause.to_string()))?;
    serde_json::from_slice(&text).map_err(|cause| no_backup(cause.to_string()))
}

/// Keeps every other process out of a database that is there, also out of one that is too damaged to be opened.
fn hold(path: &Path) -> Result<Option<File>, Fault> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::from_io(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Fault::Locked),
        Err(TryLockError::Error(error)) => Err(Fault::from_io(error)),
    }
}

/// Another name for the database that is there, so that at no moment there is none.
fn keep(path: &Path) -> Result<PathBuf, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let kept = beside(path, &format!("before-restore-{now}"));
    fs::hard_link(path, &kept).map_err(Fault::from_io)?;
    Ok(kept)
}

/// Copies the backup's database, checks the copy, and marks it.
fn take_over(
    from: &Path,
    unfinished: &Path,
    manifest: &Manifest,
    spec: &ChainSpec,
    how: How,
    progress: impl FnMut(u64, u64),
) -> Result<(), RestoreFault> {
    remove_if_there(unfinished)?;
    let mut source = File::open(from).map_err(Fault::from_io)?;
    let options = File::options().write(true).create_new(true).mode(0o600).open(unfinished);
    let mut target = options.map_err(Fault::from_io)?;
    let poured = pour(&mut source, &mut target)?;
    target.sync_all().map_err(Fault::from_io)?;
    drop(target);
    manifest.matches(poured)?;
    // The library panics on some altered files.
    let judged = guard(|| {
        let mut db = Database::open(unfinished)?;
        let found = check_meta(&db, ChainId::of(spec))?;
        if found < SCHEMA {
            climb(&db, found, &LADDER)?;
        }
        let report = check_open(&mut db, spec, progress)?;
        let as_said = (report.head_height, &report.head_hash) == (manifest.head_height, &manifest.head_hash);
        if report.is_whole() && as_said {
            mark(&db, how)?;
            db.close()?;
        }
        Ok((report, as_said))
    });
    let (mut report, as_said) = judged.unwrap_or_else(|panic| Err(Fault::Damaged(panic)))?;
    if !as_said {
        let text = format!("the manifest says that block {} {} is the head", manifest.head_height, manifest.head_hash);
        report.add(crate::core::check::Part::Meta, report.head_height, text);
    }
    if report.is_whole() { Ok(()) } else { Err(RestoreFault::Damaged(Box::new(report))) }
}

fn mark(db: &Database, how: How) -> Result<(), Fault> {
    let transaction = db.begin_write()?;
    {
        // Votes of the height after the backup, of which later ones are missing: half a log is worse than none.
        transaction.open_table(WAL)?.retain(|_, _| false)?;
        let mut meta = transaction.open_table(META)?;
        if how.vote_at_once {
            meta.remove(META_VOTES_LOST)?;
        } else {
            meta.insert(META_VOTES_LOST, [1u8].as_slice())?;
        }
        let mut leases = transaction.open_table(LEASES)?;
        let mut rows = Vec::new();
        for row in leases.iter()? {
            let (role, lease) = row?;
            rows.push((role.value(), Lease::decode(lease.value())?));
        }
        for (role, mut lease) in rows {
            lease.epoch = lease.epoch.saturating_add(EPOCHS_AHEAD);
            lease.released = true;
            leases.insert(role, lease.encode_to_vec().as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}
