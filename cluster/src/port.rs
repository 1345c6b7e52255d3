//! How messages enter a process, and the actor by which others learn that they may.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use alys_proto::cluster::Header;
use alys_proto::wire::{Inbox, Method, ReplyPort};
use alys_proto::{Refused, Role};
use bytes::Bytes;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::counts::Counts;
use crate::inspect::{Message, Passing, Taps};
use crate::mailbox::{Admission, Shared, Ticket};
use crate::mesh::channel::Credit;

/// A request that has arrived: not decoded yet.
pub(crate) struct Incoming {
    pub(crate) name: String,
    pub(crate) header: Header,
    pub(crate) body: Bytes,
    pub(crate) answer: Answer,
}

/// Who learns what became of a request.
pub(crate) enum Answer {
    /// The asker.
    Asked(ReplyPort),
    /// Nobody waits; the sender's link counts it when it was not taken. `None`: it came from this process.
    Told(Option<Credit>),
}

impl Answer {
    pub(crate) fn refuse(self, refused: Refused) {
        match self {
            Self::Asked(port) => port(Err(refused)),
            Self::Told(Some(credit)) => credit.refuse(refused),
            Self::Told(None) => {}
        }
    }
}

/// A message that waits.
pub(crate) struct Envelope {
    pub(crate) method: &'static Method,
    pub(crate) header: Header,
    pub(crate) body: Bytes,
    pub(crate) answer: Answer,
    /// Id of the requeued dead letter that it is; 0: it came over a link.
    pub(crate) letter: u64,
}

/// What waits in a mailbox: messages of others, and the role's own timers and answers.
pub(crate) enum Item<L> {
    Wire(Envelope),
    Local(L),
}

/// Takes a request in.
pub(crate) type Deliver = Arc<dyn Fn(Incoming) + Send + Sync>;

/// The two ways into a process. Closed until the role opens them.
#[derive(Default)]
pub(crate) struct Doors {
    role: OnceLock<Deliver>,
    inspector: OnceLock<Deliver>,
}

impl Doors {
    /// To the role's mailbox.
    pub(crate) fn enter(&self, incoming: Incoming) {
        Self::through(&self.role, incoming);
    }

    /// To the inspector.
    pub(crate) fn inspect(&self, incoming: Incoming) {
        Self::through(&self.inspector, incoming);
    }

    pub(crate) fn open_role(&self, deliver: Deliver) {
        // A process runs one role, so this is the first time.
        let _first = self.role.set(deliver);
    }

    pub(crate) fn open_inspector(&self, deliver: Deliver) {
        let _first = self.inspector.set(deliver);
    }

    fn through(door: &OnceLock<Deliver>, incoming: Incoming) {
        match door.get() {
            Some(deliver) => deliver(incoming),
            None => incoming.answer.refuse(Refused::NotReady("it takes no messages yet".into())),
        }
    }
}

impl Envelope {
    fn seen(&self) -> Message<'_> {
        Message { method: Some(self.method), header: &self.header, body: &self.body }
    }
}

/// What admission counts, obeys and shows.
#[derive(Default)]
pub(crate) struct Gate {
    /// Whoever sends may send anything: in a test of one role, where probes stand for all others.
    pub(crate) trusting: bool,
    pub(crate) draining: AtomicBool,
    /// Who asked for the drain wants the process to be started again.
    pub(crate) restart: AtomicBool,
    pub(crate) malformed: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// The same and more, by message.
    pub(crate) counts: Counts,
    pub(crate) taps: Taps,
    pub(crate) epochs: Epochs,
}

/// The highest lease epoch that each role has come with.
#[derive(Default)]
pub(crate) struct Epochs([AtomicU64; 16]);

impl Epochs {
    /// Refuses a sender of an earlier epoch than one that was here before it.
    fn admit(&self, header: &Header) -> Result<(), Refused> {
        let slot = usize::try_from(header.sender).ok().and_then(|number| self.0.get(number));
        let highest = slot.map_or(0, |slot| slot.fetch_max(header.epoch, Ordering::AcqRel));
        if header.epoch < highest {
            let (role, epoch) = (header.sender(), header.epoch);
            return Err(Refused::Fenced(format!(
                "{role} comes with epoch {epoch} of its lease, epoch {highest} was here before"
            )));
        }
        Ok(())
    }
}

/// Puts one message into the mailbox, or refuses it with a typed answer.
pub(crate) fn admit<I: Inbox, L>(gate: &Gate, mailbox: &Shared<Item<L>>, incoming: Incoming) {
    let Incoming { name, header, body, answer } = incoming;
    let method = I::method(&name);
    let refuse = |answer: Answer, counter: &AtomicU64, refused: Refused| {
        counter.fetch_add(1, Ordering::Relaxed);
        gate.counts.refused(method.map(|method| method.name), &refused);
        answer.refuse(refused);
    };
    let Some(method) = method else {
        return refuse(answer, &gate.malformed, Refused::Unknown(name));
    };
    let sender = Role::try_from(header.sender).unwrap_or(Role::Unspecified);
    if !gate.trusting && !alys_proto::may_send(sender, I::SERVICE, method.name) {
        let unauthorised = Refused::Unauthorised(format!("{sender} may not send {}.{}", I::SERVICE, method.name));
        return refuse(answer, &gate.refused, unauthorised);
    }
    if gate.draining.load(Ordering::Acquire) {
        return refuse(answer, &gate.refused, Refused::NotReady(format!("{} is draining", I::SERVICE)));
    }
    if !method.unfenced
        && let Err(fenced) = gate.epochs.admit(&header)
    {
        return refuse(answer, &gate.refused, fenced);
    }
    let ticket = Ticket {
        name: method.name,
        lane: method.lane,
        backpressure: method.backpressure,
        bytes: body.len(),
        arrived: Instant::now(),
    };
    let busy = |item: Item<L>| {
        if let Item::Wire(envelope) = item {
            gate.taps.pass(envelope.seen(), &Passing::Refused("the mailbox is full"));
            refuse(envelope.answer, &gate.refused, Refused::Busy(format!("the mailbox of {} is full", I::SERVICE)));
        }
    };
    let envelope = Envelope { method, header, body, answer, letter: 0 };
    gate.taps.pass(envelope.seen(), &Passing::Arrived);
    match mailbox.push(ticket, Item::Wire(envelope)) {
        Admission::Queued => {}
        Admission::Displaced(item) => {
            if let Item::Wire(envelope) = &item {
                gate.counts.dropped(envelope.method.name);
            }
            busy(item);
        }
        Admission::Refused(item) => busy(item),
    }
}

/// Puts a requeued dead letter into the mailbox. What does not fit is taken again at the next start.
pub(crate) fn put_back<L>(mailbox: &Shared<Item<L>>, envelope: Envelope) {
    let method = envelope.method;
    let ticket = Ticket {
        name: method.name,
        lane: method.lane,
        backpressure: method.backpressure,
        bytes: envelope.body.len(),
        arrived: Instant::now(),
    };
    let _full = mailbox.push(ticket, Item::Wire(envelope));
}

/// Stands in a process group while a door is open; that is how others learn of it. It takes no messages: those come on
/// streams of their own, where the sender is known.
pub(crate) struct Sign;

/// What somebody sent to a [`Sign`] past our streams.
pub(crate) struct Stray;

impl ractor::Message for Stray {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        Err(BoxedDowncastErr)
    }

    fn deserialize(_message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(Self)
    }
}

impl Actor for Sign {
    type Msg = Stray;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<Stray>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _myself: ActorRef<Stray>, _stray: Stray, (): &mut ()) -> Result<(), ActorProcessingErr> {
        tracing::debug!("a message came past our streams and was not taken");
        Ok(())
    }
}
