//! The one remotable actor of a role and the message type of all links. The ractor handler only stamps and queues;
//! decoding and work happen behind the mailbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use alys_proto::cluster::Header;
use alys_proto::wire::{Inbox, Method, ReplyPort, encode_answer};
use alys_proto::{Message as _, Refused};
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::counts::Counts;
use crate::mailbox::{Admission, Shared, Ticket};

/// A message on a link: the method's name, our header in ractor's metadata slot, the prost body.
pub(crate) struct Wire {
    pub(crate) name: String,
    pub(crate) header: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) reply: Option<RpcReplyPort<Vec<u8>>>,
}

impl ractor::Message for Wire {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        let (variant, args, metadata) = (self.name, self.body, Some(self.header));
        Ok(match self.reply {
            Some(reply) => SerializedMessage::Call { variant, args, reply, metadata },
            None => SerializedMessage::Cast { variant, args, metadata },
        })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Call { variant, args, reply, metadata } => {
                Ok(Self { name: variant, header: metadata.unwrap_or_default(), body: args, reply: Some(reply) })
            }
            SerializedMessage::Cast { variant, args, metadata } => {
                Ok(Self { name: variant, header: metadata.unwrap_or_default(), body: args, reply: None })
            }
            SerializedMessage::CallReply(..) => Err(BoxedDowncastErr),
        }
    }
}

impl Wire {
    /// The header (an unreadable one counts as empty) and where the answer goes.
    pub(crate) fn open(self) -> (String, Header, Vec<u8>, Option<ReplyPort>) {
        let header = Header::decode(self.header.as_slice()).unwrap_or_default();
        let port = self.reply.map(|reply| -> ReplyPort {
            Box::new(move |answer| {
                // A closed port means that the asker stopped waiting; there is nobody to tell.
                let _nobody_waits = reply.send(encode_answer(answer));
            })
        });
        (self.name, header, self.body, port)
    }
}

/// A wire message that waits.
pub(crate) struct Envelope {
    pub(crate) method: &'static Method,
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) port: Option<ReplyPort>,
}

/// What waits in a mailbox: messages of others, and the role's own timers and answers.
pub(crate) enum Item<L> {
    Wire(Envelope),
    Local(L),
}

/// What the port counts and obeys.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) draining: AtomicBool,
    pub(crate) malformed: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// The same and more, by message.
    pub(crate) counts: Counts,
}

/// Puts one message into the mailbox, or refuses it with a typed answer.
pub(crate) fn admit<I: Inbox, L>(gate: &Gate, mailbox: &Shared<Item<L>>, message: Wire) {
    let (name, header, body, port) = message.open();
    let method = I::method(&name);
    let refuse = |port: Option<ReplyPort>, counter: &AtomicU64, refused: Refused| {
        counter.fetch_add(1, Ordering::Relaxed);
        gate.counts.refused(method.map(|method| method.name), &refused);
        alys_proto::wire::refuse(port, refused);
    };
    let Some(method) = method else {
        return refuse(port, &gate.malformed, Refused::Unknown(name));
    };
    if gate.draining.load(Ordering::Acquire) {
        return refuse(port, &gate.refused, Refused::NotReady(format!("{} is draining", I::SERVICE)));
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
            refuse(envelope.port, &gate.refused, Refused::Busy(format!("the mailbox of {} is full", I::SERVICE)));
        }
    };
    match mailbox.push(ticket, Item::Wire(Envelope { method, header, body, port })) {
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

/// The actor behind the role's address.
pub(crate) struct Port;

/// Hands a message on.
pub(crate) type Deliver = Arc<dyn Fn(Wire) + Send + Sync>;

impl Actor for Port {
    type Msg = Wire;
    type State = Deliver;
    type Arguments = Deliver;

    async fn pre_start(&self, _myself: ActorRef<Wire>, deliver: Deliver) -> Result<Deliver, ActorProcessingErr> {
        Ok(deliver)
    }

    async fn handle(&self, _myself: ActorRef<Wire>, message: Wire, deliver: &mut Deliver) -> Result<(), ActorProcessingErr> {
        deliver(message);
        Ok(())
    }
}
