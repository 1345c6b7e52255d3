//! Dead letters on disk.

use alys_proto::Role;
use alys_proto::common::Done;
use alys_proto::storage::dead_letter::State;
use alys_proto::storage::{
    AddDeadLetter, DeadLetter, DeadLetters, Death, DropDeadLetter, ListDeadLetters, ReportDeath, RequeueDeadLetter,
};
use alys_proto::wire::digest;
use prost::Message as _;
use redb::{ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, Table, WriteTransaction};

use super::fault::Fault;
use super::open::{Store, optional_number};
use super::tables::{DEATHS, LETTER_BODIES, LETTERS, META, META_LETTERS_FALLEN_OUT, META_LETTERS_NEXT};
use super::write::{WriteRefusal, Written};
use crate::core::form::{self, Malformed};
use crate::core::letters::{self, DEADLY};
use crate::core::limits::{MAX_LETTERS, MAX_PAGE_BYTES};

/// A message ended its process.
pub(crate) fn report(transaction: &WriteTransaction, request: ReportDeath) -> Written<Death> {
    let Some(letter) = request.letter else { return Ok(Err(Malformed::Missing("letter").into())) };
    if let Err(malformed) = form::letter(&letter) {
        return Ok(Err(malformed.into()));
    }
    if letter.id != 0 {
        return died_again(transaction, &letter);
    }
    let known_by = digest(&letter.service, &letter.method, &letter.body);
    let mut table = transaction.open_table(DEATHS)?;
    let deaths = table.get(&known_by)?.map_or(0, |row| row.value().0).saturating_add(1);
    if deaths < DEADLY {
        table.insert(&known_by, (deaths, letter.died_unix_millis))?;
        forget_oldest(&mut table)?;
        return Ok(Ok(Death { deaths, dead: false }));
    }
    table.remove(&known_by)?;
    drop(table);
    insert(transaction, DeadLetter { deaths, ..letter })?;
    Ok(Ok(Death { deaths, dead: true }))
}

fn died_again(transaction: &WriteTransaction, report: &DeadLetter) -> Written<Death> {
    let mut table = transaction.open_table(LETTERS)?;
    let Some(mut letter) = stored(&table, report.id)? else {
        return Ok(Err(WriteRefusal::NoLetter(report.id)));
    };
    letter.deaths = letter.deaths.saturating_add(1);
    letter.explanation.clone_from(&report.explanation);
    letter.died_unix_millis = report.died_unix_millis;
    letter.state = State::Dead.into();
    table.insert(letter.id, letter.encode_to_vec().as_slice())?;
    Ok(Ok(Death { deaths: letter.deaths, dead: true }))
}

/// As many digests as letters: what died longest ago is forgotten.
fn forget_oldest(table: &mut Table<'_, &'static [u8; 32], (u32, u64)>) -> Result<(), Fault> {
    if usize::try_from(table.len()?).unwrap_or(usize::MAX) <= MAX_LETTERS {
        return Ok(());
    }
    let mut oldest: Option<([u8; 32], u64)> = None;
    for row in table.iter()? {
        let (digest, value) = row?;
        let (_, died) = value.value();
        if oldest.is_none_or(|(_, before)| died < before) {
            oldest = Some((*digest.value(), died));
        }
    }
    if let Some((digest, _)) = oldest {
        table.remove(&digest)?;
    }
    Ok(())
}

/// A message that nobody will ever handle.
pub(crate) fn add(transaction: &WriteTransaction, request: AddDeadLetter) -> Written<Done> {
    let Some(letter) = request.letter else { return Ok(Err(Malformed::Missing("letter").into())) };
    if let Err(malformed) = form::letter(&letter) {
        return Ok(Err(malformed.into()));
    }
    insert(transaction, letter)?;
    Ok(Ok(Done {}))
}

fn insert(transaction: &WriteTransaction, mut letter: DeadLetter) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    let mut table = transaction.open_table(LETTERS)?;
    let mut bodies = transaction.open_table(LETTER_BODIES)?;
    letter.id = optional_number(&meta, META_LETTERS_NEXT)?.unwrap_or(1);
    letter.state = State::Dead.into();
    letter.requeued = 0;
    letter.digest = digest(&letter.service, &letter.method, &letter.body).to_vec();
    letter.body_bytes = u64::try_from(letter.body.len()).unwrap_or(u64::MAX);
    tracing::error!(id = letter.id, receiver = %letter.receiver(), method = letter.method, reason = letter.explanation, "dead letter");
    bodies.insert(letter.id, std::mem::take(&mut letter.body).as_slice())?;
    table.insert(letter.id, letter.encode_to_vec().as_slice())?;
    meta.insert(META_LETTERS_NEXT, letter.id.saturating_add(1).to_le_bytes().as_slice())?;

    let mut kept = Vec::new();
    for row in table.iter()? {
        let letter = DeadLetter::decode(row?.1.value())?;
        kept.push((letter.id, letter.body_bytes));
    }
    let out = letters::fall_out(&kept);
    for id in &out {
        table.remove(id)?;
        bodies.remove(id)?;
    }
    if !out.is_empty() {
        let before = optional_number(&meta, META_LETTERS_FALLEN_OUT)?.unwrap_or(0);
        let fallen = before.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        meta.insert(META_LETTERS_FALLEN_OUT, fallen.to_le_bytes().as_slice())?;
    }
    Ok(())
}

/// Its receiver may take it again.
pub(crate) fn requeue(transaction: &WriteTransaction, request: &RequeueDeadLetter) -> Written<DeadLetter> {
    let mut table = transaction.open_table(LETTERS)?;
    let Some(mut letter) = stored(&table, request.id)? else {
        return Ok(Err(WriteRefusal::NoLetter(request.id)));
    };
    letter.state = State::Requeued.into();
    letter.requeued = letter.requeued.saturating_add(1);
    table.insert(letter.id, letter.encode_to_vec().as_slice())?;
    Ok(Ok(letter))
}

/// It is handled, or a person gave it up: who repeats it has three more times.
pub(crate) fn remove(transaction: &WriteTransaction, request: &DropDeadLetter) -> Written<Done> {
    let removed = transaction.open_table(LETTERS)?.remove(request.id)?.is_some();
    transaction.open_table(LETTER_BODIES)?.remove(request.id)?;
    Ok(if removed { Ok(Done {}) } else { Err(WriteRefusal::NoLetter(request.id)) })
}

fn stored(table: &impl ReadableTable<u64, &'static [u8]>, id: u64) -> Result<Option<DeadLetter>, Fault> {
    let row = table.get(id)?;
    Ok(row.map(|row| DeadLetter::decode(row.value())).transpose()?)
}

impl Store {
    /// Newest first, without bodies.
    pub(crate) fn letters(&self, request: &ListDeadLetters) -> Result<DeadLetters, Fault> {
        let transaction = self.db.begin_read()?;
        let fallen_out = optional_number(&transaction.open_table(META)?, META_LETTERS_FALLEN_OUT)?.unwrap_or(0);
        let most = match usize::try_from(request.limit) {
            Ok(limit) if limit > 0 => limit,
            _ => MAX_LETTERS,
        };
        let mut answer = DeadLetters { fallen_out, ..DeadLetters::default() };
        let mut bytes = 0usize;
        for row in transaction.open_table(LETTERS)?.iter()?.rev() {
            let letter = DeadLetter::decode(row?.1.value())?;
            if request.receiver() != Role::Unspecified && request.receiver() != letter.receiver() {
                continue;
            }
            bytes = bytes.saturating_add(letter.encoded_len());
            if answer.letters.len() >= most || bytes > MAX_PAGE_BYTES {
                break;
            }
            answer.letters.push(letter);
        }
        Ok(answer)
    }

    /// One, whole.
    pub(crate) fn letter(&self, id: u64) -> Result<Option<DeadLetter>, Fault> {
        let transaction = self.db.begin_read()?;
        let Some(letter) = stored(&transaction.open_table(LETTERS)?, id)? else { return Ok(None) };
        let body = transaction.open_table(LETTER_BODIES)?.get(id)?.map(|body| body.value().to_vec());
        Ok(Some(DeadLetter { body: body.unwrap_or_default(), ..letter }))
    }

    /// What waits for this role to take it again, whole, and the digests of what it must not take.
    pub(crate) fn requeued(&self, role: Role) -> Result<DeadLetters, Fault> {
        let mut answer = DeadLetters::default();
        let mut bytes = 0usize;
        let transaction = self.db.begin_read()?;
        let bodies = transaction.open_table(LETTER_BODIES)?;
        for row in transaction.open_table(LETTERS)?.iter()? {
            let letter = DeadLetter::decode(row?.1.value())?;
            if letter.receiver() != role {
                continue;
            }
            if letter.state() != State::Requeued {
                answer.dead.push(letter.digest);
                continue;
            }
            let body = bodies.get(letter.id)?.map(|body| body.value().to_vec()).unwrap_or_default();
            bytes = bytes.saturating_add(body.len());
            // What does not fit comes with the next question: the ones before it are gone by then.
            if bytes <= MAX_PAGE_BYTES || answer.letters.is_empty() {
                answer.letters.push(DeadLetter { body, ..letter });
            }
        }
        Ok(answer)
    }
}
