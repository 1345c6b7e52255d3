//! Everything that a debug node may ask of a process, answered from the inspector's own task: also while a handler hangs.
//!
//! | part | does |
//! |---|---|
//! | `observe` | vitals, mailbox, queued messages |
//! | `tap` | copies of messages as they pass |
//! | `valve` | freeze, step, thaw |
//! | `waits` | who waits for whom |
//! | `times` | how long handlers take |
//! | `logs` | the last log lines |
//! | `audit` | who changed what |
//! | `recording`, `replay` | what a mailbox received, in a file, and through a mailbox again |

mod audit;
mod logs;
mod observe;
pub mod recording;
mod replay;
mod replay_lease;
mod tap;
mod times;
mod valve;
mod waits;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alys_proto::cluster::{self, Drained, MailboxFreeze, MailboxFrozen, TapBodies, TapOpen, TapOpened};
use alys_proto::{Inbox, Refused, Role};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::generation::Generations;
use crate::mailbox::Shared;
use crate::port::{Answer, Incoming, Item};
use crate::vitals::Vitals;

pub(crate) use audit::Audit;
pub(crate) use logs::Stderr;
pub(crate) use observe::InFlight;
pub(crate) use replay::start as replay;
pub(crate) use tap::{Message, Passing, Taps};
pub(crate) use times::Times;
pub(crate) use valve::{Pass, Valve};
pub(crate) use waits::{TaskWaiting, Waits};

/// Consensus and signing: a validator that stands still misses its turns, a signer delays money. Storage renews the leases
/// under which they act.
const SIGNERS: [Role; 4] = [Role::Chain, Role::Stream, Role::Bridge, Role::Storage];

/// The inspector of one role process.
pub(crate) struct Inspector<L> {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) mailbox: Arc<Shared<Item<L>>>,
    pub(crate) drain: watch::Sender<bool>,
    pub(crate) describe: fn(&str, &[u8]) -> String,
    pub(crate) audit: Audit,
    pub(crate) freeze_signers: bool,
    pub(crate) generations: Generations,
}

impl<L> Inspector<L> {
    pub(crate) fn answer(&self, incoming: Incoming<'_>) {
        let sender = incoming.header.sender;
        if !alys_proto::may_send(sender, cluster::Inbox::SERVICE, incoming.name) {
            self.vitals.gate.refused.fetch_add(1, Ordering::Relaxed);
            let unauthorised = Refused::Unauthorised(format!("{sender} may not send {} to an inspector", incoming.name));
            return incoming.answer.refuse(unauthorised);
        }
        let port = match incoming.answer {
            Answer::Asked(port) => Some(port),
            Answer::Told(_) => None,
        };
        let Ok(asked) = cluster::Inbox::decode(incoming.name, &incoming.body, port) else {
            self.vitals.gate.malformed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match asked {
            cluster::Inbox::Observe(_, reply) => reply.send(self.observe()),
            cluster::Inbox::MailboxPeek(peek, reply) => reply.send(self.peek(&peek)),
            cluster::Inbox::LogTail(asked, reply) => reply.send(logs::tail(&asked)),
            cluster::Inbox::TapOpen(asked, reply) => reply.answer(self.open_tap(&asked)),
            cluster::Inbox::TapRead(asked, reply) => {
                reply.answer(self.vitals.gate.taps.read(asked.tap, asked.limit, Instant::now()))
            }
            cluster::Inbox::TapClose(asked, reply) => reply.send(self.vitals.gate.taps.close(asked.tap)),
            cluster::Inbox::Audit(asked, reply) => {
                reply.answer(self.audit.record(&asked.who, &asked.what, &asked.reason).map(|()| cluster::Audited {}));
            }
            cluster::Inbox::MailboxFreeze(asked, reply) => reply.answer(self.freeze(&asked)),
            cluster::Inbox::MailboxStep(asked, reply) => reply.answer(self.step(&asked.who)),
            cluster::Inbox::MailboxThaw(asked, reply) => reply.answer(self.thaw(&asked.who)),
            cluster::Inbox::Drain(drain, reply) => {
                tracing::info!(reason = drain.reason, restart = drain.restart, "asked to drain");
                self.vitals.gate.restart.store(drain.restart, Ordering::Release);
                self.drain.send_replace(true);
                reply.send(Drained { handled: self.vitals.activity.handled.load(Ordering::Relaxed) });
            }
        }
    }

    fn open_tap(&self, asked: &TapOpen) -> Result<TapOpened, Refused> {
        if asked.bodies() == TapBodies::Whole {
            self.audit.record(&asked.who, "take whole messages", "")?;
        }
        let tap = self.vitals.gate.taps.open(asked, self.describe, Instant::now())?;
        self.forget_when_unread();
        Ok(TapOpened { tap })
    }

    /// A role that gets no messages would keep the copies of a viewer who has left.
    fn forget_when_unread(&self) {
        let gate = self.vitals.gate.clone();
        tokio::spawn(async move {
            while gate.taps.any() {
                tokio::time::sleep(tap::LEASE).await;
                gate.taps.expire(Instant::now());
            }
        });
    }

    fn freeze(&self, asked: &MailboxFreeze) -> Result<MailboxFrozen, Refused> {
        let role = self.vitals.identity.role;
        if SIGNERS.contains(&role) && !self.freeze_signers {
            return Err(Refused::Unauthorised(format!(
                "consensus and signing need {role}: it is frozen on test chains only (cluster.debug.freeze_signers)"
            )));
        }
        if self.mailbox.frozen().is_none() {
            // Renewals are not written down: there is one a second.
            self.audit.record(&asked.who, "freeze", &asked.reason)?;
        }
        self.mailbox.turn(|valve| valve.freeze(&asked.who, Instant::now()))?;
        Ok(self.frozen())
    }

    fn step(&self, who: &str) -> Result<MailboxFrozen, Refused> {
        self.audit.record(who, "step", "")?;
        self.mailbox.turn(|valve| valve.step(Instant::now()))?;
        Ok(self.frozen())
    }

    fn thaw(&self, who: &str) -> Result<MailboxFrozen, Refused> {
        self.audit.record(who, "thaw", "")?;
        self.mailbox.turn(Valve::thaw);
        Ok(self.frozen())
    }

    fn frozen(&self) -> MailboxFrozen {
        let mailbox = self.mailbox_view();
        MailboxFrozen { frozen: mailbox.frozen.clone(), mailbox: Some(mailbox) }
    }
}
