//! Answers `Observe` on the mesh's own thread, so it answers also while a handler hangs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use alys_proto::cluster::{self, Drained, Field, LaneDepth, Mailbox, MailboxView, Observation, QueuedMessage, Role, TypeCount};
use alys_proto::{Inbox, Lane, Refused};
use tokio::sync::watch;

use crate::mailbox::{Shared, Ticket};
use crate::port::{Answer, Incoming, Item};
use crate::process;
use crate::vitals::Vitals;

/// Most messages that one peek shows.
const MOST_PEEKED: usize = 1_000;

pub(crate) struct Inspector<L> {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) mailbox: Arc<Shared<Item<L>>>,
    pub(crate) drain: watch::Sender<bool>,
    pub(crate) describe: fn(&str, &[u8]) -> String,
}

impl<L> Inspector<L> {
    pub(crate) fn answer(&self, incoming: Incoming) {
        let sender = Role::try_from(incoming.header.sender).unwrap_or(Role::Unspecified);
        if !alys_proto::may_send(sender, cluster::Inbox::SERVICE, &incoming.name) {
            self.vitals.gate.refused.fetch_add(1, Ordering::Relaxed);
            let unauthorised = Refused::Unauthorised(format!("{sender} may not send {} to an inspector", incoming.name));
            return incoming.answer.refuse(unauthorised);
        }
        let port = match incoming.answer {
            Answer::Asked(port) => Some(port),
            Answer::Told(_) => None,
        };
        match cluster::Inbox::decode(&incoming.name, &incoming.body, port) {
            Ok(cluster::Inbox::Observe(_, reply)) => reply.send(self.observe()),
            Ok(cluster::Inbox::MailboxPeek(peek, reply)) => {
                let limit = usize::try_from(peek.limit).unwrap_or(MOST_PEEKED).min(MOST_PEEKED);
                reply.send(self.peek(if limit == 0 { MOST_PEEKED } else { limit }));
            }
            Ok(cluster::Inbox::Drain(drain, reply)) => {
                tracing::info!(reason = drain.reason, restart = drain.restart, "asked to drain");
                self.vitals.gate.restart.store(drain.restart, Ordering::Release);
                self.drain.send_replace(true);
                reply.send(Drained { handled: self.vitals.activity.handled.load(Ordering::Relaxed) });
            }
            Err(_refused_already) => {
                self.vitals.gate.malformed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn observe(&self) -> Observation {
        let vitals = &self.vitals;
        let status = vitals.activity.status();
        let (health, health_reason) = vitals.health();
        let usage = process::usage();
        Observation {
            role: self.vitals.identity.role.into(),
            instance: self.vitals.identity.instance.clone(),
            incarnation: self.vitals.identity.incarnation.to_bytes(),
            pid: std::process::id(),
            host: process::host(),
            started_unix_millis: self.vitals.identity.started_millis,
            health: health.into(),
            health_reason,
            mailbox: Some(self.mailbox()),
            status: status.as_ref().map_or_else(Vec::new, |(status, _)| fields(&status.fields)),
            status_age_millis: status.map_or(0, |(_, taken)| millis(taken)),
            links: self.vitals.links.list(),
            resident_bytes: usage.resident_bytes,
            cpu_millis: usage.cpu_millis,
            version: env!("CARGO_PKG_VERSION").into(),
            lease: self.vitals.lease.show(),
        }
    }

    fn peek(&self, limit: usize) -> MailboxView {
        let mailbox = Some(self.mailbox());
        let queue = self.mailbox.lock();
        let messages = queue.iter().take(limit).map(|(ticket, item)| self.show(ticket, item)).collect();
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
            shown.sender = Role::try_from(envelope.header.sender).unwrap_or(Role::Unspecified).into();
            shown.message_id = envelope.header.message_id.clone();
            shown.body = (self.describe)(ticket.name, &envelope.body);
        }
        shown
    }

    fn mailbox(&self) -> Mailbox {
        let figures = self.mailbox.lock().figures();
        let (in_flight, waiting_on) = self.vitals.activity.current();
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
            in_flight: in_flight.map_or_else(String::new, |(name, _)| name.into()),
            busy_millis: in_flight.map_or(0, |(_, since)| millis(since)),
            queued: figures.by_name.into_iter().map(|(name, count)| TypeCount { name: name.into(), count }).collect(),
            waiting_on: waiting_on.unwrap_or_default(),
            lanes: figures.by_lane.into_iter().map(|(lane, depth)| lane_depth(lane, depth)).collect(),
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
