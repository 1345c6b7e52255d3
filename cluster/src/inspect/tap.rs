//! Taps: copies of messages as they pass, for a debugger that reads them. A tap never slows or changes what it watches.
//!
//! | bound | of | what happens beyond |
//! |---|---|---|
//! | 4 taps | a process | `TapOpen` is refused as busy |
//! | 3 s without a read | a tap | it is gone |
//! | its rate | messages looked at in a second | counted as missed |
//! | 1,000 messages or 16 MiB | waiting to be read | counted as missed |

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alys_proto::cluster::{Passage, Passed, TapBatch, TapBodies, TapFilter, TapOpen};
use alys_proto::wire::Method;
use alys_proto::{Lane, Refused};
use tokio::time::Instant;

use crate::header::Header;
use crate::identity::unix_millis;
use crate::pack::Content;

/// Without a read a tap is gone after this long.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
const MOST_TAPS: usize = 4;
const MOST_WAITING: usize = 1_000;
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Messages and bytes of one answer: far below a frame's limit together with one largest message.
const MOST_READ: usize = 500;
const MOST_READ_BYTES: usize = 1024 * 1024;
const DEFAULT_RATE: u32 = 500;
const HIGHEST_RATE: u32 = 5_000;

/// A message as a tap sees it.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// `None`: the role's own.
    pub(crate) method: Option<&'static Method>,
    pub(crate) header: &'a Header,
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    pub(crate) fn of(content: &'a Content) -> Self {
        Self { method: Some(content.method), header: &content.header, body: &content.body }
    }
}

/// What happens to it.
pub(crate) enum Passing<'a> {
    Arrived,
    Refused(&'a str),
    Handled { waited: Duration, took: Duration, failed: bool },
}

/// The taps of one process.
#[derive(Default)]
pub(crate) struct Taps {
    /// So many are open: all that a message costs when there is none.
    open: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last: u64,
    taps: Vec<Tap>,
}

struct Tap {
    number: u64,
    filter: TapFilter,
    bodies: TapBodies,
    rate: u32,
    describe: fn(&str, &[u8]) -> String,
    waiting: VecDeque<Passed>,
    bytes: usize,
    missed: u64,
    expires: Instant,
    second: Instant,
    looked: u32,
}

impl Taps {
    /// Whether anybody looks.
    pub(crate) fn any(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Open ones.
    pub(crate) fn count(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Opens a tap; its number.
    pub(crate) fn open(&self, asked: &TapOpen, describe: fn(&str, &[u8]) -> String, now: Instant) -> Result<u64, Refused> {
        let mut table = self.lock();
        table.expire(now);
        if table.taps.len() >= MOST_TAPS {
            return Err(Refused::Busy(format!("{MOST_TAPS} taps are open")));
        }
        table.last = table.last.saturating_add(1);
        let mut filter = asked.filter.clone().unwrap_or_default();
        filter.text = filter.text.to_lowercase();
        let tap = Tap {
            number: table.last,
            filter,
            bodies: asked.bodies(),
            rate: if asked.rate == 0 { DEFAULT_RATE } else { asked.rate.min(HIGHEST_RATE) },
            describe,
            waiting: VecDeque::new(),
            bytes: 0,
            missed: 0,
            expires: now + LEASE,
            second: now,
            looked: 0,
        };
        table.taps.push(tap);
        self.recount(&table);
        Ok(table.last)
    }

    /// What has passed since the last read, and three seconds more.
    pub(crate) fn read(&self, number: u64, limit: u32, now: Instant) -> Result<TapBatch, Refused> {
        let mut table = self.lock();
        table.expire(now);
        self.recount(&table);
        let tap = table.taps.iter_mut().find(|tap| tap.number == number);
        let tap = tap.ok_or_else(|| Refused::Failed(format!("there is no tap {number}: it was not read for {LEASE:?}")))?;
        tap.expires = now + LEASE;
        Ok(tap.take(limit))
    }

    /// Closes a tap and gives what was not read yet.
    pub(crate) fn close(&self, number: u64) -> TapBatch {
        let mut table = self.lock();
        let position = table.taps.iter().position(|tap| tap.number == number);
        let batch = position.map(|position| table.taps.swap_remove(position).take(0)).unwrap_or_default();
        self.recount(&table);
        batch
    }

    /// Forgets taps that nobody reads.
    pub(crate) fn expire(&self, now: Instant) {
        let mut table = self.lock();
        table.expire(now);
        self.recount(&table);
    }

    /// A message passes.
    pub(crate) fn pass(&self, message: Message<'_>, passing: &Passing<'_>) {
        if !self.any() {
            return;
        }
        let now = Instant::now();
        let mut table = self.lock();
        table.expire(now);
        for tap in &mut table.taps {
            tap.see(message, passing, now);
        }
        self.recount(&table);
    }

    fn recount(&self, table: &Table) {
        self.open.store(u32::try_from(table.taps.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn expire(&mut self, now: Instant) {
        self.taps.retain(|tap| tap.expires > now);
    }
}

impl Tap {
    fn see(&mut self, message: Message<'_>, passing: &Passing<'_>, now: Instant) {
        if !self.wants(message) {
            return;
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.looked) = (now, 0);
        }
        self.looked = self.looked.saturating_add(1);
        if self.looked > self.rate {
            self.missed = self.missed.saturating_add(1);
            return;
        }
        let name = message.method.map_or("local", |method| method.name);
        let needed = self.bodies != TapBodies::None || !self.filter.text.is_empty();
        let text = if needed && message.method.is_some() { (self.describe)(name, message.body) } else { String::new() };
        if !self.filter.text.is_empty() && !text.to_lowercase().contains(&self.filter.text) {
            return;
        }
        let passed = self.passed(message, passing, name, text);
        let bytes = size(&passed);
        if self.waiting.len() >= MOST_WAITING || self.bytes.saturating_add(bytes) > MOST_BYTES && !self.waiting.is_empty() {
            self.missed = self.missed.saturating_add(1);
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.waiting.push_back(passed);
    }

    /// What can be said without reading the body.
    fn wants(&self, message: Message<'_>) -> bool {
        match message.method {
            None => self.filter.local && self.filter.text.is_empty() && ["", "local"].contains(&self.filter.name.as_str()),
            Some(method) => {
                (self.filter.name.is_empty() || self.filter.name == method.name)
                    && (self.filter.sender == 0 || self.filter.sender == i32::from(message.header.sender))
            }
        }
    }

    fn passed(&self, message: Message<'_>, passing: &Passing<'_>, name: &str, text: String) -> Passed {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let mut passed = Passed {
            name: name.to_owned(),
            lane: message.method.map_or(Lane::Normal, |method| method.lane).into(),
            sender: message.header.sender.into(),
            message_id: message.header.message_id(),
            unix_millis: unix_millis(),
            bytes: u64::try_from(message.body.len()).unwrap_or(u64::MAX),
            told: message.method.is_some_and(|method| method.told),
            ..Passed::default()
        };
        match self.bodies {
            TapBodies::Text => passed.body = text,
            TapBodies::Whole => {
                passed.whole = message.body.to_vec();
                passed.header = Some((*message.header).into());
            }
            TapBodies::None => {}
        }
        match passing {
            Passing::Arrived => passed.set_passage(Passage::Arrived),
            Passing::Refused(reason) => {
                passed.set_passage(Passage::Refused);
                passed.reason = (*reason).to_owned();
            }
            Passing::Handled { waited, took, failed } => {
                passed.set_passage(if *failed { Passage::Failed } else { Passage::Handled });
                passed.waited_micros = micros(*waited);
                passed.took_micros = micros(*took);
            }
        }
        passed
    }

    fn take(&mut self, limit: u32) -> TapBatch {
        let limit = usize::try_from(limit).unwrap_or(MOST_READ).min(MOST_READ);
        let limit = if limit == 0 { MOST_READ } else { limit };
        let (mut passed, mut bytes) = (Vec::new(), 0usize);
        while passed.len() < limit && bytes < MOST_READ_BYTES {
            let Some(next) = self.waiting.pop_front() else { break };
            bytes = bytes.saturating_add(size(&next));
            passed.push(next);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        TapBatch { passed, missed: self.missed }
    }
}

fn size(passed: &Passed) -> usize {
    passed.body.len().saturating_add(passed.whole.len()).saturating_add(passed.reason.len())
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
