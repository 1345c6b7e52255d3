//! How messages enter a process, and the actor by which others learn that they may.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use alys_proto::wire::{Inbox, Method, ReplyPort};
use alys_proto::{Refused, Role};
use bytes::Bytes;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::counts::Counts;
use crate::header::Header;
use crate::inspect::{Message, Passing, Taps};
use crate::mailbox::{Admission, Shared, Ticket};
use crate::mesh::channel::Credit;
use crate::pack::{Content, Packed};

/// A request that has arrived: not decoded yet.
pub(crate) struct Incoming<'a> {
    pub(crate) name: &'a str,
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
    /// The sender need not wait until the message is handled.
    fn settle(&self) {
        if let Self::Told(Some(credit)) = self {
            credit.settle();
        }
    }

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
    pub(crate) content: Packed,
    pub(crate) answer: Answer,
    /// Id of the requeued dead letter that it is; 0: it came over a link.
    pub(crate) letter: u64,
}

/// What waits in a mailbox: messages of others, and the role's own timers and answers.
pub(crate) enum Item<L> {
    Wire(Envelope),
    Local(L),
}

/// Requests that came together, in their order. They are made as they are taken: no list of them is ever kept.
pub(crate) type Arrivals<'r, 'a> = &'r mut (dyn Iterator<Item = Incoming<'a>> + 'r);

/// Takes requests in that came together.
pub(crate) type Deliver = Arc<dyn for<'r, 'a> Fn(Arrivals<'r, 'a>) + Send + Sync>;

/// The two ways into a process. Closed until the role opens them.
#[derive(Default)]
pub(crate) struct Doors {
    role: OnceLock<Deliver>,
    inspector: OnceLock<Deliver>,
}

impl Doors {
    /// To the role's mailbox.
    pub(crate) fn enter(&self, incoming: Arrivals<'_, '_>) {
        Self::through(&self.role, incoming);
    }

    /// To the inspector.
    pub(crate) fn inspect(&self, incoming: Arrivals<'_, '_>) {
        Self::through(&self.inspector, incoming);
    }

    pub(crate) fn open_role(&self, deliver: Deliver) {
        // A process runs one role, so this is the first time.
        let _first = self.role.set(deliver);
    }

    pub(crate) fn open_inspector(&self, deliver: Deliver) {
        let _first = self.inspector.set(deliver);
    }

    fn through(door: &OnceLock<Deliver>, incoming: Arrivals<'_, '_>) {
        match door.get() {
            Some(deliver) => deliver(incoming),
            None => {
                let closed = || Refused::NotReady("it takes no messages yet".into());
                incoming.for_each(|one| one.answer.refuse(closed()));
            }
        }
    }
}

impl Envelope {
    fn ticket(&self, arrived: Instant) -> Ticket {
        let Method { name, lane, backpressure, .. } = *self.content.method;
        Ticket { name, lane, backpressure, bytes: self.content.body.len(), arrived }
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
        let (role, epoch) = (header.sender, header.epoch());
        let slot = usize::try_from(i32::from(role)).ok().and_then(|number| self.0.get(number));
        // Most senders hold no lease and never did: a look is cheaper than a change.
        let known = slot.map_or(0, |slot| slot.load(Ordering::Acquire));
        let highest = if epoch > known { slot.map_or(0, |slot| slot.fetch_max(epoch, Ordering::AcqRel)) } else { known };
        if epoch < highest {
            return Err(Refused::Fenced(format!(
                "{role} comes with epoch {epoch} of its lease, epoch {highest} was here before"
            )));
        }
        Ok(())
    }
}

/// What .proto and matrix say of a message.
#[derive(Clone, Copy)]
struct Known {
    sender: Role,
    method: &'static Method,
    allowed: bool,
}

/// Puts messages into the mailbox in their order, or refuses each with a typed answer.
pub(crate) fn admit<I: Inbox, L>(gate: &Gate, mailbox: &Shared<Item<L>>, incoming: Arrivals<'_, '_>) {
    let mut known = None;
    // No more than come: what waits keeps this room.
    let most = incoming.size_hint().1.unwrap_or(1);
    let (mut contents, mut answers) = (Vec::with_capacity(most), Vec::with_capacity(most));
    for one in incoming {
        if let Some((content, answer)) = gate.check::<I>(one, &mut known) {
            gate.taps.pass(Message::of(&content), &Passing::Arrived);
            contents.push(content);
            answers.push(answer);
        }
    }
    if contents.is_empty() {
        return;
    }
    let arrived = Instant::now();
    if mailbox.has_much_room(contents.len(), contents.iter().map(|content| content.body.len()).sum()) {
        answers.iter().for_each(Answer::settle);
    }
    let envelopes = Packed::all(contents).zip(answers).map(|(content, answer)| {
        let envelope = Envelope { content, answer, letter: 0 };
        (envelope.ticket(arrived), Item::Wire(envelope))
    });
    for turned_away in mailbox.push_all(envelopes) {
        let (item, displaced) = match turned_away {
            Admission::Displaced(item) => (item, true),
            Admission::Refused(item) => (item, false),
            Admission::Queued => continue,
        };
        let Item::Wire(envelope) = item else { continue };
        let method = envelope.content.method;
        if displaced {
            gate.counts.dropped(method.name);
        }
        gate.taps.pass(Message::of(&envelope.content), &Passing::Refused("the mailbox is full"));
        let busy = Refused::Busy(format!("the mailbox of {} is full", I::SERVICE));
        gate.refuse(Some(method), envelope.answer, &gate.refused, busy);
    }
}

impl Gate {
    /// What every message must pass before it may wait; what does not pass is answered here. `known`: of the message before,
    /// which most often is of the same sender and name.
    fn check<I: Inbox>(&self, incoming: Incoming<'_>, known: &mut Option<Known>) -> Option<(Content, Answer)> {
        let Incoming { name, header, body, answer } = incoming;
        let found = known.filter(|known| known.sender == header.sender && known.method.name == name);
        let Some(Known { method, allowed, .. }) = found.or_else(|| self.look_up::<I>(header.sender, name)) else {
            self.refuse(None, answer, &self.malformed, Refused::Unknown(name.to_owned()));
            return None;
        };
        *known = Some(Known { sender: header.sender, method, allowed });
        let refused = if !allowed {
            Err(Refused::Unauthorised(format!("{} may not send {}.{}", header.sender, I::SERVICE, method.name)))
        } else if self.draining.load(Ordering::Acquire) {
            Err(Refused::NotReady(format!("{} is draining", I::SERVICE)))
        } else if method.unfenced {
            Ok(())
        } else {
            self.epochs.admit(&header)
        };
        match refused {
            Ok(()) => Some((Content { method, header, body }, answer)),
            Err(refused) => {
                self.refuse(Some(method), answer, &self.refused, refused);
                None
            }
        }
    }

    fn look_up<I: Inbox>(&self, sender: Role, name: &str) -> Option<Known> {
        let method = I::method(name)?;
        let allowed = self.trusting || alys_proto::may_send(sender, I::SERVICE, method.name);
        Some(Known { sender, method, allowed })
    }

    fn refuse(&self, method: Option<&'static Method>, answer: Answer, counter: &AtomicU64, refused: Refused) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.counts.refused(method.map(|method| method.name), &refused);
        answer.refuse(refused);
    }
}

/// Puts a requeued dead letter into the mailbox. What does not fit is taken again at the next start.
pub(crate) fn put_back<L>(mailbox: &Shared<Item<L>>, envelope: Envelope) {
    let _full = mailbox.push(envelope.ticket(Instant::now()), Item::Wire(envelope));
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
