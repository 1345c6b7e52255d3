//! The bounded, inspectable mailbox. A pure queue of three lanes; [`Shared`] puts a lock and a wake-up around it.
//!
//! | queue | message's policy | outcome |
//! |---|---|---|
//! | below both bounds | any | queued |
//! | full | `Reject` | refused as busy |
//! | full | `DropOldest` | the oldest droppable one of its type or lane falls out |
//! | any | `Coalesce` | replaces a queued one of the same name, else as `Reject` |
//! | above capacity, below bytes | `NeverDrop` | queued: its sender bounds it |
//! | above bytes | any | refused as busy |
//!
//! The executor takes a lock for a run of messages, not for each: [`Queue::lend`] puts those that come next into its hand. They
//! wait there as much as in the queue, so whatever must see or change what waits calls them back first ([`Shared::lock`]): an
//! observer, a freeze, a drain, a message that goes before them, one that displaces or replaces another, one too many.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use alys_proto::cluster::Freeze;
use alys_proto::{BackpressureStrategy, Lane};
use tokio::sync::Notify;

use crate::config::MailboxConfig;
use crate::inspect::{Pass, Valve};
use crate::mesh::window::MUCH_ROOM;

/// What the queue must know of a message.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The method's name.
    pub name: &'static str,
    /// Where it waits.
    pub lane: Lane,
    /// What happens when there is no room.
    pub backpressure: BackpressureStrategy,
    /// Size of its body.
    pub bytes: usize,
    /// When it came.
    pub arrived: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Lent {
    lane: Lane,
    messages: usize,
    bytes: usize,
}

/// What became of a message that was pushed.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<T> {
    /// It waits.
    Queued,
    /// It waits; this one fell out for it.
    Displaced(T),
    /// There is no room.
    Refused(T),
}

/// Messages that the executor takes together. They are called back when need be, so this is not how long another one waits.
const RUN: usize = 64;

/// Messages of one lane that the executor takes next.
type Hand<T> = VecDeque<(Ticket, T)>;

/// The queue. Time comes in with the tickets.
#[derive(Debug)]
pub struct Queue<T> {
    config: MailboxConfig,
    lanes: [VecDeque<(Ticket, T)>; 3],
    /// What is in the executor's hand, or was since it was last called back; depth and bytes count all of it.
    lent: Option<Lent>,
    depth: usize,
    bytes: usize,
    high_water: usize,
    dropped: u64,
    refused: u64,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(config: MailboxConfig) -> Self {
        let lanes = Default::default();
        Self { config, lanes, lent: None, depth: 0, bytes: 0, high_water: 0, dropped: 0, refused: 0 }
    }

    /// Takes a message in, or says why not.
    pub fn push(&mut self, ticket: Ticket, item: T) -> Admission<T> {
        if ticket.backpressure == BackpressureStrategy::Coalesce
            && let Some(older) = self.remove_first(ticket.lane, |queued| queued.name == ticket.name)
        {
            self.insert(ticket, item);
            self.dropped = self.dropped.saturating_add(1);
            return Admission::Displaced(older);
        }
        if self.bytes.saturating_add(ticket.bytes) > self.config.max_bytes && self.depth > 0 {
            self.refused = self.refused.saturating_add(1);
            return Admission::Refused(item);
        }
        if self.depth < self.config.capacity || ticket.backpressure == BackpressureStrategy::NeverDrop {
            self.insert(ticket, item);
            return Admission::Queued;
        }
        if ticket.backpressure == BackpressureStrategy::DropOldest
            && let Some(older) = self.remove_first(ticket.lane, |queued| queued.backpressure == BackpressureStrategy::DropOldest)
        {
            self.insert(ticket, item);
            self.dropped = self.dropped.saturating_add(1);
            return Admission::Displaced(older);
        }
        self.refused = self.refused.saturating_add(1);
        Admission::Refused(item)
    }

    /// The next message: control before normal before bulk, first in first out within a lane.
    pub fn take(&mut self) -> Option<(Ticket, T)> {
        let (ticket, item) = SERVICE_ORDER.iter().find_map(|lane| self.lanes[index(*lane)].pop_front())?;
        self.depth = self.depth.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(ticket.bytes);
        Some((ticket, item))
    }

    /// Puts the messages that would be taken next, of one lane, into an empty hand.
    fn lend(&mut self, hand: &mut Hand<T>) {
        let Some(lane) = SERVICE_ORDER.into_iter().find(|lane| !self.lanes[index(*lane)].is_empty()) else { return };
        let waiting = &mut self.lanes[index(lane)];
        let messages = waiting.len().min(RUN);
        hand.extend(waiting.drain(..messages));
        let bytes = hand.iter().map(|(ticket, _)| ticket.bytes).sum();
        self.lent = Some(Lent { lane, messages, bytes });
    }

    /// Takes back what is left in the hand.
    fn call_back(&mut self, hand: &mut Hand<T>) {
        let Some(lent) = self.lent.take() else { return };
        self.depth = self.depth.saturating_sub(lent.messages).saturating_add(hand.len());
        self.bytes = self.bytes.saturating_sub(lent.bytes);
        while let Some((ticket, item)) = hand.pop_back() {
            self.bytes = self.bytes.saturating_add(ticket.bytes);
            self.lanes[index(lent.lane)].push_front((ticket, item));
        }
    }

    /// Whether a message may wait without a look at those that are lent: it goes behind them, there is room for all, and no more
    /// wait than ever did, even if none of them was taken yet.
    fn goes_behind(&self, ticket: &Ticket) -> bool {
        self.lent.is_none_or(|lent| {
            index(ticket.lane) >= index(lent.lane)
                && ticket.backpressure != BackpressureStrategy::Coalesce
                && self.depth < self.config.capacity.min(self.high_water)
                && self.bytes.saturating_add(ticket.bytes) <= self.config.max_bytes
        })
    }

    /// At most an eighth of either bound is used when these come.
    pub fn has_much_room(&self, messages: usize, bytes: usize) -> bool {
        self.depth.saturating_add(messages) <= self.config.capacity / MUCH_ROOM
            && self.bytes.saturating_add(bytes) <= self.config.max_bytes / MUCH_ROOM
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.depth == 0
    }

    /// Everything that waits, in the order in which it will be served.
    pub fn iter(&self) -> impl Iterator<Item = &(Ticket, T)> {
        SERVICE_ORDER.iter().flat_map(|lane| self.lanes[index(*lane)].iter())
    }

    /// Arrival of the oldest message.
    pub fn oldest(&self) -> Option<Instant> {
        // Coalesced messages take the newest place, so each lane is in order of arrival.
        self.lanes.iter().filter_map(|lane| lane.front()).map(|(ticket, _)| ticket.arrived).min()
    }

    /// Figures for people and metrics.
    pub fn figures(&self) -> Figures {
        let mut by_name = BTreeMap::new();
        for (ticket, _) in self.iter() {
            *by_name.entry(ticket.name).or_insert(0u64) += 1;
        }
        Figures {
            depth: self.depth,
            high_water: self.high_water,
            capacity: self.config.capacity,
            bytes: self.bytes,
            capacity_bytes: self.config.max_bytes,
            dropped: self.dropped,
            refused: self.refused,
            oldest: self.oldest(),
            by_name,
            by_lane: SERVICE_ORDER.map(|lane| (lane, self.lanes[index(lane)].len())),
            oldest_by_lane: SERVICE_ORDER.map(|lane| (lane, self.lanes[index(lane)].front().map(|(ticket, _)| ticket.arrived))),
        }
    }

    fn insert(&mut self, ticket: Ticket, item: T) {
        self.depth = self.depth.saturating_add(1);
        self.high_water = self.high_water.max(self.depth);
        self.bytes = self.bytes.saturating_add(ticket.bytes);
        self.lanes[index(ticket.lane)].push_back((ticket, item));
    }

    fn remove_first(&mut self, lane: Lane, matches: impl Fn(&Ticket) -> bool) -> Option<T> {
        let lane = &mut self.lanes[index(lane)];
        let position = lane.iter().position(|(ticket, _)| matches(ticket))?;
        let (ticket, item) = lane.remove(position)?;
        self.depth = self.depth.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(ticket.bytes);
        Some(item)
    }
}

/// A queue's figures at one instant.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Waiting messages.
    pub depth: usize,
    /// Most that ever waited.
    pub high_water: usize,
    /// Configured bound.
    pub capacity: usize,
    /// Bytes of waiting bodies.
    pub bytes: usize,
    /// Configured bound of these.
    pub capacity_bytes: usize,
    /// Fell out for newer ones.
    pub dropped: u64,
    /// Turned away as busy.
    pub refused: u64,
    /// Arrival of the oldest.
    pub oldest: Option<Instant>,
    /// Waiting messages by name.
    pub by_name: BTreeMap<&'static str, u64>,
    /// Waiting messages by lane.
    pub by_lane: [(Lane, usize); 3],
    /// Arrival of the oldest of each lane.
    pub oldest_by_lane: [(Lane, Option<Instant>); 3],
}

const SERVICE_ORDER: [Lane; 3] = [Lane::Control, Lane::Normal, Lane::Bulk];

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Control => 0,
        Lane::Normal => 1,
        Lane::Bulk => 2,
    }
}

/// The queue as the port fills it, the executor empties it and the inspector reads it.
pub(crate) struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Locked behind the queue, or alone.
    hand: Mutex<Hand<T>>,
    arrived: Notify,
    valve: Mutex<Valve>,
    /// The valve may be shut: as long as nobody debugs, it is not even looked at.
    held: AtomicBool,
}

impl<T> Shared<T> {
    pub(crate) fn new(config: MailboxConfig) -> Arc<Self> {
        let queue = Mutex::new(Queue::new(config));
        let (hand, valve) = (Mutex::default(), Mutex::default());
        Arc::new(Self { queue, hand, arrived: Notify::new(), valve, held: AtomicBool::new(false) })
    }

    pub(crate) fn push(&self, ticket: Ticket, item: T) -> Admission<T> {
        let admission = self.lock().push(ticket, item);
        self.arrived.notify_one();
        admission
    }

    /// Takes in what came together, with one wake-up; gives back what fell out or found no room.
    pub(crate) fn push_all(&self, messages: impl Iterator<Item = (Ticket, T)>) -> Vec<Admission<T>> {
        let mut turned_away = Vec::new();
        let mut queue = self.queue();
        for (ticket, item) in messages {
            if !queue.goes_behind(&ticket) {
                queue.call_back(&mut self.hand());
            }
            match queue.push(ticket, item) {
                Admission::Queued => {}
                other => turned_away.push(other),
            }
        }
        drop(queue);
        self.arrived.notify_one();
        turned_away
    }

    /// Whether so little waits that the sender of these told messages gets its credit back before they are handled: it then
    /// has an eighth of the mailbox and a whole window under way or waiting, and still does not overfill it alone.
    pub(crate) fn has_much_room(&self, messages: usize, bytes: usize) -> bool {
        self.queue().has_much_room(messages, bytes)
    }

    /// Waits for the next message that the valve lets pass. Cancel safe: a message is taken only when this returns.
    pub(crate) async fn take(&self) -> (Ticket, T) {
        loop {
            let arrived = self.arrived.notified();
            match self.next() {
                Ok(next) => return next,
                Err(None) => arrived.await,
                // Whatever comes first: a message, a step, a thaw, the end of the lease.
                Err(Some(lease_end)) => drop(tokio::time::timeout_at(lease_end, arrived).await),
            }
        }
    }

    /// The next message, or until when a freeze may hold it.
    pub(crate) fn next(&self) -> Result<(Ticket, T), Option<tokio::time::Instant>> {
        if !self.held.load(Ordering::Acquire) {
            return self.take_next().ok_or(None);
        }
        let mut valve = self.valve();
        match valve.pass(tokio::time::Instant::now()) {
            Pass::Open => {
                self.held.store(false, Ordering::Release);
                self.take_next().ok_or(None)
            }
            Pass::Step => {
                let next = self.lock().take().ok_or(None)?;
                valve.stepped();
                Ok(next)
            }
            Pass::NotBefore(lease_end) => Err(Some(lease_end)),
        }
    }

    /// The next message, and others into the hand when it was empty: only one takes, so it stays so until then.
    fn take_next(&self) -> Option<(Ticket, T)> {
        if let Some(next) = self.hand().pop_front() {
            return Some(next);
        }
        let mut queue = self.lock();
        let mut hand = self.hand();
        queue.lend(&mut hand);
        hand.pop_front()
    }

    /// Changes the valve and lets the executor look again.
    pub(crate) fn turn<R>(&self, change: impl FnOnce(&mut Valve) -> R) -> R {
        let mut valve = self.valve();
        let changed = change(&mut valve);
        self.held.store(true, Ordering::Release);
        drop(valve);
        self.arrived.notify_one();
        changed
    }

    /// Who holds the mailbox, if somebody does.
    pub(crate) fn frozen(&self) -> Option<Freeze> {
        self.valve().show(tokio::time::Instant::now())
    }

    fn valve(&self) -> MutexGuard<'_, Valve> {
        self.valve.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message, past the valve: a drain ends a freeze.
    pub(crate) fn try_take(&self) -> Option<(Ticket, T)> {
        self.lock().take()
    }

    /// All that waits.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        let mut queue = self.queue();
        queue.call_back(&mut self.hand());
        queue
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        // No code under these locks panics half-way through a change, so a poisoned queue is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self) -> MutexGuard<'_, Hand<T>> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
