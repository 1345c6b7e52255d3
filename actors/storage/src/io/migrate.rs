//! From an older schema to ours: one step per schema, each in a transaction of its own that also writes the new number. A
//! crash leaves the database at the step before, and the next start goes on from there.
//!
//! Before the first step the file is copied beside itself as `alys.redb.schema-<n>`: a build that knows schema n can go on
//! with it. Nothing removes the copy but a person.

use std::fs;
use std::path::{Path, PathBuf};

use alys_proto::storage::LedgerFact;
use alys_proto::storage::ledger_fact::Fact;
use prost::Message as _;
use redb::{Database, ReadableTable as _, WriteTransaction};

use super::fault::Fault;
use super::open::{check_space, make_tables, remove_if_there, sync_folder};
use super::tables::{FACTS, META, META_SCHEMA, META_SETTLED, SCHEMA};

/// Leads from one schema to the next.
pub(crate) struct Step {
    /// For the log.
    pub(crate) what: &'static str,
    /// Changes everything but the number.
    pub(crate) run: fn(&WriteTransaction) -> Result<(), Fault>,
}

/// The n-th step leads from schema n to n + 1.
pub(super) const LADDER: [Step; 1] = [Step { what: "the last settled height gets a row of its own", run: to_2 }];
const STEPS_LEAD_TO_OUR_SCHEMA: () = assert!(SCHEMA == 2 && LADDER.len() == 1, "a schema without its step");

/// Runs the steps that are missing.
pub(crate) fn climb(db: &Database, found: u64, ladder: &[Step]) -> Result<(), Fault> {
    let () = STEPS_LEAD_TO_OUR_SCHEMA;
    let done = usize::try_from(found.saturating_sub(1)).unwrap_or(usize::MAX);
    for (schema, step) in (found.saturating_add(1)..).zip(ladder.iter().skip(done)) {
        tracing::info!(schema, what = step.what, "migrating the database");
        let mut transaction = db.begin_write()?;
        // Whatever the step does, a reopen after a crash is to be quick.
        transaction.set_quick_repair(true);
        (step.run)(&transaction)?;
        transaction.open_table(META)?.insert(META_SCHEMA, schema.to_le_bytes().as_slice())?;
        transaction.commit()?;
        tracing::info!(schema, "the database is migrated");
    }
    Ok(())
}

/// Where the copy of a schema is.
pub(super) fn copy_of(path: &Path, schema: u64) -> PathBuf {
    beside(path, &format!("schema-{schema}"))
}

/// The file's name with something behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    PathBuf::from(name)
}

/// Copies the file. The caller has it open, so nobody else writes to it, and has written nothing itself.
pub(crate) fn keep_a_copy(path: &Path, schema: u64, min_free_space: u64) -> Result<PathBuf, Fault> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let bytes = fs::metadata(path).map_err(Fault::from_io)?.len();
    check_space(folder, bytes.saturating_add(min_free_space))?;
    let copy = copy_of(path, schema);
    let unfinished = beside(&copy, "new");
    remove_if_there(&unfinished)?;
    tracing::info!(schema, bytes, copy = %copy.display(), "keeping a copy of the database before it is migrated");
    fs::copy(path, &unfinished).map_err(Fault::from_io)?;
    fs::File::open(&unfinished).and_then(|file| file.sync_all()).map_err(Fault::from_io)?;
    fs::rename(&unfinished, &copy).map_err(Fault::from_io)?;
    sync_folder(folder)?;
    Ok(copy)
}

/// Tables that the first builds did not have, and the last settled height, which pruning must not pass.
fn to_2(transaction: &WriteTransaction) -> Result<(), Fault> {
    make_tables(transaction)?;
    let facts = transaction.open_table(FACTS)?;
    for row in facts.iter()?.rev() {
        let fact = LedgerFact::decode(row?.1.value())?;
        if let Some(Fact::WorkSettled(settled)) = fact.fact {
            transaction.open_table(META)?.insert(META_SETTLED, settled.end_height.to_le_bytes().as_slice())?;
            break;
        }
    }
    Ok(())
}
