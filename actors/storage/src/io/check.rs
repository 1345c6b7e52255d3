//! A walk over all tables of a database that nobody else has open.

use std::fs::File;
use std::path::Path;

use alys_blocks::ChainSpec;
use alys_cluster::guard::guard;
use alys_proto::common::Burn;
use alys_proto::storage::{DeadLetter, Lease, LedgerFact, PostedMessage};
use prost::Message;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::backup::pour;
use super::fault::Fault;
use super::open::{DATABASE_FILE, check_meta, optional_number};
use super::restore::{RestoreFault, read_manifest};
use super::tables::{
    BLOCKS, BURNS, CERTIFICATES, FACTS, HEIGHTS, LEASES, LETTERS, META, META_FLOOR, META_SETTLED, META_VOTES_LOST,
    META_WAL_HEIGHT, OUTBOX, SCHEMA, WAL,
};
use crate::core::check::{Judge, Part, Report, StoredBlock, Totals};
use crate::core::commit::ChainId;
use crate::core::form::Hash;

/// How often `progress` is told, in blocks.
const TELL_EVERY: u64 = 256;

/// Checks the database at `path`; `progress` gets the height that was reached and the head's. Damage is in the report; a
/// fault means that nothing can be said: it is in use, of another chain or schema, or cannot be read.
pub fn check(path: &Path, spec: &ChainSpec, progress: impl FnMut(u64, u64)) -> Result<Report, Fault> {
    let checked = guard(|| {
        let mut db = Database::open(path)?;
        check_open(&mut db, spec, progress)
    });
    match checked.unwrap_or_else(|panic| Err(Fault::Damaged(panic))) {
        Err(Fault::Damaged(what)) => {
            let mut report = Report::default();
            report.add(Part::File, 0, what);
            Ok(report)
        }
        other => other,
    }
}

/// Checks a backup and leaves it as it is: the sum of the manifest stands for the pages.
pub fn check_backup(folder: &Path, spec: &ChainSpec, progress: impl FnMut(u64, u64)) -> Result<Report, RestoreFault> {
    let manifest = read_manifest(folder)?;
    manifest.fits(ChainId::of(spec), SCHEMA, true)?;
    let path = folder.join(DATABASE_FILE);
    let mut file = File::open(&path).map_err(Fault::from_io)?;
    manifest.matches(pour(&mut file, &mut std::io::sink())?)?;
    let walked = guard(|| {
        let db = Database::builder().open_read_only(&path)?;
        let schema = check_meta(&db, ChainId::of(spec))?;
        if schema < SCHEMA {
            return Err(Fault::OlderSchema { found: schema, known: SCHEMA });
        }
        let report = walk(&db.begin_read()?, spec, progress)?;
        Ok(Report { schema, ..report })
    });
    Ok(walked.unwrap_or_else(|panic| Err(Fault::Damaged(panic)))?)
}

/// The same for one that the caller has opened.
pub(super) fn check_open(db: &mut Database, spec: &ChainSpec, progress: impl FnMut(u64, u64)) -> Result<Report, Fault> {
    let schema = check_meta(db, ChainId::of(spec))?;
    if schema < SCHEMA {
        return Err(Fault::OlderSchema { found: schema, known: SCHEMA });
    }
    let was_whole = db.check_integrity()?;
    let mut report = walk(&db.begin_read()?, spec, progress)?;
    report.schema = schema;
    if !was_whole {
        report.add(Part::File, 0, "its books of free pages were wrong and were made anew");
    }
    Ok(report)
}

fn walk(snapshot: &ReadTransaction, spec: &ChainSpec, mut progress: impl FnMut(u64, u64)) -> Result<Report, Fault> {
    let meta = snapshot.open_table(META)?;
    let mut judge = Judge::new(spec, optional_number(&meta, META_FLOOR)?.unwrap_or(0));
    judge.report().votes_lost = meta.get(META_VOTES_LOST)?.is_some();
    let (blocks, heights) = (snapshot.open_table(BLOCKS)?, snapshot.open_table(HEIGHTS)?);
    let (certificates, facts) = (snapshot.open_table(CERTIFICATES)?, snapshot.open_table(FACTS)?);
    let burns = snapshot.open_table(BURNS)?;
    let head = blocks.last()?.map_or(0, |(height, _)| height.value());
    for row in blocks.iter()? {
        let (key, row) = row?;
        let (height, (hash, parent, block)) = (key.value(), row.value());
        let certificate = certificates.get(height)?;
        let mut stored = StoredBlock {
            height,
            hash: Hash(*hash),
            parent: Hash(*parent),
            block,
            certificate: certificate.as_ref().map(|row| row.value()),
            indexed: heights.get(hash)?.map(|row| row.value()),
            burns: Vec::new(),
            facts: Vec::new(),
        };
        for burn in burns.range((height, 0)..=(height, u32::MAX))? {
            stored.burns.extend(decoded::<Burn>(burn?.1.value(), Part::Burns, height, judge.report()));
        }
        for fact in facts.range((height, 0)..=(height, u32::MAX))? {
            stored.facts.extend(decoded::<LedgerFact>(fact?.1.value(), Part::Facts, height, judge.report()));
        }
        judge.block(&stored);
        if height.is_multiple_of(TELL_EVERY) || height == head {
            progress(height, head);
        }
    }
    wal(snapshot, head, judge.report())?;
    roles(snapshot, judge.report())?;
    let totals = Totals {
        indexed: heights.len()?,
        certificates: certificates.len()?,
        facts: facts.len()?,
        settled: optional_number(&meta, META_SETTLED)?,
    };
    Ok(judge.finish(&totals))
}

fn wal(snapshot: &ReadTransaction, head: u64, report: &mut Report) -> Result<(), Fault> {
    let newest = optional_number(&snapshot.open_table(META)?, META_WAL_HEIGHT)?.unwrap_or(0);
    if newest > head.saturating_add(1) {
        report.add(Part::Wal, newest, format!("the consensus log is of height {newest}, the head is {head}"));
    }
    for row in snapshot.open_table(WAL)?.iter()? {
        let height = row?.0.value().0;
        if height != newest {
            report.add(Part::Wal, height, format!("an entry of height {height} in a log of height {newest}"));
        }
    }
    Ok(())
}

fn roles(snapshot: &ReadTransaction, report: &mut Report) -> Result<(), Fault> {
    for row in snapshot.open_table(LEASES)?.iter()? {
        decoded::<Lease>(row?.1.value(), Part::Roles, 0, report);
    }
    for row in snapshot.open_table(OUTBOX)?.iter()? {
        decoded::<PostedMessage>(row?.1.value(), Part::Roles, 0, report);
    }
    for row in snapshot.open_table(LETTERS)?.iter()? {
        decoded::<DeadLetter>(row?.1.value(), Part::Roles, 0, report);
    }
    Ok(())
}

fn decoded<T: Message + Default>(bytes: &[u8], part: Part, height: u64, report: &mut Report) -> Option<T> {
    T::decode(bytes).inspect_err(|cause| report.add(part, height, format!("a row does not decode: {cause}"))).ok()
}
