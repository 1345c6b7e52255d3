//! Outboxes and marks on disk.

use alys_proto::Role;
use alys_proto::common::Done;
use alys_proto::storage::{
    AddDeadLetter, ClearPosted, HandledMarks, MarkHandled, PostMessage, Posted, PostedMessage, PostedMessages,
};
use prost::Message as _;
use redb::{ReadableDatabase as _, ReadableTable, WriteTransaction};

use super::fault::Fault;
use super::letters;
use super::open::{Store, optional_number};
use super::tables::{HANDLED, META, META_POSTED_NEXT, OUTBOX};
use super::write::{WriteRefusal, Written};
use crate::core::form;
use crate::core::limits::MAX_PAGE_BYTES;
use crate::core::outbox::{Verdict, judge};

/// Keeps a message for its sender.
pub(crate) fn post(transaction: &WriteTransaction, sender: Role, request: PostMessage) -> Written<Posted> {
    if let Err(malformed) = form::post(&request) {
        return Ok(Err(malformed.into()));
    }
    let mut outbox = transaction.open_table(OUTBOX)?;
    let waiting = of_sender(&outbox, sender, usize::MAX)?;
    match judge(&waiting, &request) {
        Verdict::Full => Ok(Err(WriteRefusal::OutboxFull(sender))),
        Verdict::Waits(number) => Ok(Ok(Posted { number })),
        Verdict::Keep => {
            let mut meta = transaction.open_table(META)?;
            let number = optional_number(&meta, META_POSTED_NEXT)?.unwrap_or(1);
            meta.insert(META_POSTED_NEXT, number.saturating_add(1).to_le_bytes().as_slice())?;
            let PostMessage { receiver, method, body, traceparent } = request;
            let row = PostedMessage { number, receiver, method, body, traceparent };
            outbox.insert((i32::from(sender), number), row.encode_to_vec().as_slice())?;
            Ok(Ok(Posted { number }))
        }
    }
}

/// Oldest first, until a page is full.
fn of_sender(
    table: &impl ReadableTable<(i32, u64), &'static [u8]>,
    sender: Role,
    most_bytes: usize,
) -> Result<Vec<PostedMessage>, Fault> {
    let mut found = Vec::new();
    let mut bytes = 0usize;
    let sender = i32::from(sender);
    for row in table.range((sender, 0)..=(sender, u64::MAX))? {
        let message = PostedMessage::decode(row?.1.value())?;
        bytes = bytes.saturating_add(message.body.len());
        if bytes > most_bytes && !found.is_empty() {
            break;
        }
        found.push(message);
    }
    Ok(found)
}

/// It is handled, or a dead letter from now on. Clearing it again changes nothing.
pub(crate) fn clear(transaction: &WriteTransaction, sender: Role, request: ClearPosted) -> Written<Done> {
    let was_there = transaction.open_table(OUTBOX)?.remove((i32::from(sender), request.number))?.is_some();
    match request.dead {
        Some(letter) if was_there => letters::add(transaction, AddDeadLetter { letter: Some(letter) }),
        _ => Ok(Ok(Done {})),
    }
}

/// A receiver has handled everything of a sender up to a number. A mark never goes back.
pub(crate) fn mark(transaction: &WriteTransaction, receiver: Role, request: &MarkHandled) -> Written<Done> {
    let key = (i32::from(receiver), i32::from(request.sender()));
    let mut marks = transaction.open_table(HANDLED)?;
    let highest = marks.get(key)?.map_or(0, |row| row.value());
    marks.insert(key, request.number.max(highest))?;
    Ok(Ok(Done {}))
}

impl Store {
    /// What waits in a sender's outbox, oldest first.
    pub(crate) fn posted(&self, sender: Role) -> Result<PostedMessages, Fault> {
        let outbox = self.db.begin_read()?.open_table(OUTBOX)?;
        Ok(PostedMessages { messages: of_sender(&outbox, sender, MAX_PAGE_BYTES)? })
    }

    /// What a receiver has handled.
    pub(crate) fn handled(&self, receiver: Role) -> Result<HandledMarks, Fault> {
        let receiver = i32::from(receiver);
        let mut answer = HandledMarks::default();
        for row in self.db.begin_read()?.open_table(HANDLED)?.range((receiver, i32::MIN)..=(receiver, i32::MAX))? {
            let (key, number) = row?;
            answer.marks.push(MarkHandled { sender: key.value().1, number: number.value() });
        }
        Ok(answer)
    }
}
