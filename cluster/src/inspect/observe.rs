//! What a process shows of itself.

use std::sync::atomic::Ordering;
use std::time::Instant;

use alys_proto::Lane;
use alys_proto::cluster::{Field, LaneDepth, Mailbox, MailboxPeek, MailboxView, Observation, QueuedMessage, TypeCount};

use super::waits::of_handler;
use super::{Inspector, Waits};
use crate::header::Header;
use crate::mailbox::Ticket;
use crate::pack::Packed;
use crate::port::Item;
use crate::process;

/// Most messages that one peek shows.
const MOST_PEEKED: usize = 1_000;

/// The message that a handler has in hand.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) name: &'static str,
    pub(crate) since: Instant,
    /// `None`: the role's own.
    pub(crate) content: Option<Packed>,
    /// Id of the requeued dead letter that it is; 0: it came over a link.
    pub(crate) letter: u64,
}

impl InFlight {
    /// One of the role's own.
    pub(crate) const fn own(name: &'static str, since: Instant) -> Self {
        Self { name, since, content: None, letter: 0 }
    }

    fn header(&self) -> Header {
        self.content.as_ref().map_or(Header::OWN, |content| content.header)
    }
}

impl<L> Inspector<L> {
    pub(super) fn observe(&self) -> Observation {
        let status = self.vitals.activity.status();
        let mailbox = self.mailbox_view();
        let (health, health_reason) = self.vitals.health();
        let usage = process::usage();
        let on_disk = self.generations.on_disk();
        Observation {
            role: self.vitals.identity.role.into(),
            instance: self.vitals.identity.instance.clone(),
            incarnation: self.vitals.identity.incarnation.to_bytes(),
            pid: std::process::id(),
            host: process::host(),
            started_unix_millis: self.vitals.identity.started_millis,
            health: health.into(),
            health_reason,
            mailbox: Some(mailbox),
            status: status.as_ref().map_or_else(Vec::new, |(status, _)| fields(&status.fields)),
            status_age_millis: status.map_or(0, |(_, taken)| millis(taken)),
            links: self.vitals.links.list(),
            resident_bytes: usage.resident_bytes,
            cpu_millis: usage.cpu_millis,
            version: env!("CARGO_PKG_VERSION").into(),
            lease: self.vitals.lease.show(),
            generation: Some(self.generations.running()),
            on_disk: on_disk.as_ref().ok().cloned().flatten(),
            on_disk_fault: on_disk.err().unwrap_or_default(),
        }
    }

    pub(super) fn peek(&self, asked: &MailboxPeek) -> MailboxView {
        let limit = usize::try_from(asked.limit).unwrap_or(MOST_PEEKED).min(MOST_PEEKED);
        let wanted = |ticket: &Ticket| {
            (asked.name.is_empty() || asked.name == ticket.name) && asked.lane.is_none_or(|lane| lane == i32::from(ticket.lane))
        };
        let mailbox = Some(self.mailbox_view());
        let queue = self.mailbox.lock();
        let messages = queue
            .iter()
            .filter(|(ticket, _)| wanted(ticket))
            .take(if limit == 0 { MOST_PEEKED } else { limit })
            .map(|(ticket, item)| self.show(ticket, item))
            .collect();
        MailboxView { mailbox, messages }
    }

    fn show(&self, ticket: &Ticket, item: &Item<L>) -> QueuedMessage {
        let mut shown = QueuedMessage {
            name: ticket.name.into(),
            lane: ticket.lane.into(),
            sender: self.vitals.identity.role.into(),
            message_id: Vec::new(),
            age_millis: millis(ticket.arrived),
            bytes: wide(ticket.bytes),
            body: String::new(),
        };
        if let Item::Wire(envelope) = item {
            shown.sender = envelope.content.header.sender.into();
            shown.message_id = envelope.content.header.message_id();
            shown.body = (self.describe)(ticket.name, &envelope.content.body);
        }
        shown
    }

    pub(super) fn mailbox_view(&self) -> Mailbox {
        let figures = self.mailbox.lock().figures();
        let in_flight = self.vitals.activity.message();
        let awaited = self.vitals.activity.awaited();
        let [p50, p99] = self.vitals.activity.percentiles().map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        let mut waits: Vec<_> = awaited.iter().map(|(what, since)| of_handler(what, *since)).collect();
        waits.extend(Waits::of_tasks().list());
        Mailbox {
            depth: wide(figures.depth),
            high_water: wide(figures.high_water),
            capacity: wide(figures.capacity),
            oldest_millis: figures.oldest.map_or(0, millis),
            handled: self.vitals.activity.handled.load(Ordering::Relaxed),
            failed: self.vitals.activity.failed.load(Ordering::Relaxed),
            refused_busy: figures.refused,
            refused_other: self.vitals.gate.refused.load(Ordering::Relaxed),
            dropped: figures.dropped,
            expired: self.vitals.activity.expired.load(Ordering::Relaxed),
            malformed: self.vitals.gate.malformed.load(Ordering::Relaxed),
            in_flight: in_flight.as_ref().map_or_else(String::new, |message| message.name.into()),
            busy_millis: in_flight.as_ref().map_or(0, |message| millis(message.since)),
            queued: figures.by_name.into_iter().map(|(name, count)| TypeCount { name: name.into(), count }).collect(),
            waiting_on: awaited.into_iter().map(|(what, _)| what).collect::<Vec<_>>().join(", "),
            lanes: figures.by_lane.into_iter().map(|(lane, depth)| lane_depth(lane, depth)).collect(),
            bytes: wide(figures.bytes),
            p50_micros: p50,
            p99_micros: p99,
            waits,
            frozen: self.mailbox.frozen(),
            taps: self.vitals.gate.taps.count(),
            in_flight_sender: in_flight.as_ref().map_or(0, |message| message.header().sender.into()),
            in_flight_id: in_flight.map(|message| message.header().message_id()).unwrap_or_default(),
        }
    }
}

fn lane_depth(lane: Lane, depth: usize) -> LaneDepth {
    LaneDepth { lane: lane.into(), depth: wide(depth) }
}

fn fields(fields: &[(&'static str, String)]) -> Vec<Field> {
    fields.iter().map(|(name, value)| Field { name: (*name).into(), value: value.clone() }).collect()
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
