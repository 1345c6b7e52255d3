//! What this role has handled of the messages that others posted to it: memory that storage keeps for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alys_proto::storage::{self, GetHandled, MarkHandled};
use alys_proto::wire::{Method, ReplyPort, refuse};
use alys_proto::{Delivery, Refused, Role};

use crate::delivery::Marks;
use crate::header::Header;
use crate::remote::Remote;

/// A posted message that is to be acknowledged when it is handled.
pub(crate) struct Due {
    sender: Role,
    number: u64,
    port: Option<ReplyPort>,
}

impl Due {
    /// It cannot be handled.
    pub(crate) fn refuse(self, refused: Refused) {
        let _told = refuse(self.port, refused);
    }
}

/// The marks of this role.
pub(crate) struct Handled {
    storage: Option<Remote<storage::Inbox>>,
    /// `None` until they are read.
    marks: Mutex<Option<Marks>>,
}

impl Handled {
    /// Without storage (in a test) nothing is remembered over a restart.
    pub(crate) fn new(storage: Option<Remote<storage::Inbox>>) -> Arc<Self> {
        let marks = if storage.is_none() { Some(Marks::default()) } else { None };
        Arc::new(Self { storage, marks: Mutex::new(marks) })
    }

    /// Whether the message was posted, and so is acknowledged only when it is handled.
    pub(crate) fn is_posted(method: &Method, header: &Header) -> bool {
        method.delivery == Delivery::AtLeastOnce && header.stamp.posted != 0
    }

    /// Takes a posted message on; `None`: it has been answered, there is nothing to handle.
    pub(crate) fn take(self: &Arc<Self>, header: &Header, port: Option<ReplyPort>) -> Option<Due> {
        let due = Due { sender: header.sender, number: header.stamp.posted, port };
        let known = self.lock().as_ref().map(|marks| marks.knows(due.sender, due.number));
        match known {
            Some(false) => Some(due),
            Some(true) => {
                let handled = self.clone();
                tokio::spawn(async move { handled.done(due).await });
                None
            }
            None => {
                refuse(due.port, Refused::NotReady("what was handled before is not known yet".into()));
                tokio::spawn(self.clone().read());
                None
            }
        }
    }

    /// Marks it, then acknowledges it.
    pub(crate) async fn done(&self, due: Due) {
        let Due { sender, number, port } = due;
        if let Some(marks) = self.lock().as_mut() {
            marks.set(sender, number);
        }
        let Some(storage) = &self.storage else {
            return acknowledge(port, Ok(()));
        };
        let marked = storage.ask(MarkHandled { sender: sender.into(), number }).await;
        acknowledge(port, marked.map(drop).map_err(|refused| Refused::NotReady(format!("storage: {refused}"))));
    }

    async fn read(self: Arc<Self>) {
        let Some(storage) = &self.storage else { return };
        match storage.ask(GetHandled {}).await {
            Ok(found) => {
                let mut read = Marks::default();
                found.marks.iter().for_each(|mark| read.set(mark.sender(), mark.number));
                // Of two readers the first wins: marks set since then must stay.
                self.lock().get_or_insert(read);
            }
            Err(refused) => tracing::debug!(%refused, "storage does not say what was handled before"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Marks>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn acknowledge(port: Option<ReplyPort>, outcome: Result<(), Refused>) {
    if let Some(port) = port {
        port(outcome.map(|()| Vec::new()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::mpsc::{Receiver, channel};

    use alys_proto::common::Done;
    use alys_proto::storage::HandledMarks;

    use super::*;
    use crate::header::Stamp;
    use crate::testing::probe;

    type Answers = Receiver<Result<Vec<u8>, Refused>>;

    fn posted(number: u64) -> (Header, Option<ReplyPort>, Answers) {
        let (sender, answers) = channel();
        let stamp = Stamp { posted: number, ..Stamp::default() };
        let header = Header { sender: Role::Engine, stamp, ..Header::default() };
        (header, Some(Box::new(move |answer| drop(sender.send(answer)))), answers)
    }

    #[tokio::test]
    async fn a_message_is_acknowledged_when_its_mark_is_on_disk_and_handled_once() {
        let (remote, mut storage) = probe::<storage::Inbox>();
        let handled = Handled::new(Some(remote));
        // Nothing is handled before it is known what was.
        let (header, port, answers) = posted(7);
        assert!(handled.take(&header, port).is_none());
        assert!(matches!(answers.recv().unwrap(), Err(Refused::NotReady(_))));
        let storage::Inbox::GetHandled(_, reply) = storage.next().await else { panic!("not a question for marks") };
        reply.send(HandledMarks { marks: vec![MarkHandled { sender: Role::Engine.into(), number: 6 }] });
        while handled.lock().is_none() {
            tokio::task::yield_now().await;
        }

        let (header, port, answers) = posted(7);
        let due = handled.take(&header, port).expect("7 is new");
        let marking = tokio::spawn({
            let handled = handled.clone();
            async move { handled.done(due).await }
        });
        let storage::Inbox::MarkHandled(mark, reply) = storage.next().await else { panic!("not a mark") };
        assert_eq!((mark.sender(), mark.number), (Role::Engine, 7));
        assert!(answers.try_recv().is_err(), "acknowledged before it is marked");
        reply.refuse(Refused::Failed("no space".into()));
        marking.await.unwrap();
        assert!(matches!(answers.recv().unwrap(), Err(Refused::NotReady(_))), "unmarked is not acknowledged");

        for number in [7, 6] {
            let (header, port, answers) = posted(number);
            assert!(handled.take(&header, port).is_none(), "{number} was handled before");
            let storage::Inbox::MarkHandled(_, reply) = storage.next().await else { panic!("not a mark") };
            reply.send(Done {});
            while answers.try_recv().ok() != Some(Ok(Vec::new())) {
                tokio::task::yield_now().await;
            }
        }
    }
}
