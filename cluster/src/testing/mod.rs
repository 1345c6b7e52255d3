//! One role in a test context: its real mailbox and executor without a mesh, and probes in place of the other roles. And a
//! role of a few lines for the other end of a real link.

mod plain;
mod ports;

use std::sync::Arc;
use std::time::Duration;

use alys_proto::{Inbox, Role};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::actor::{LocalSender, RoleActor};
use crate::config::MailboxConfig;
use crate::executor::{Activity, Executor};
use crate::exit::ActorError;
use crate::handled::Handled;
use crate::identity::Identity;
use crate::lease::Lease;
use crate::mailbox::Shared;
use crate::poison::Guard;
use crate::port::{Answer, Deliver, Gate, Incoming, admit};
use crate::remote::{Remote, Route, Sender};

pub use plain::Plain;
pub use ports::{free_port, free_ports};

const PATIENCE: Duration = Duration::from_secs(5);

/// A role that a test plays itself.
pub struct Probe<I> {
    messages: mpsc::UnboundedReceiver<I>,
}

impl<I: Inbox> Probe<I> {
    /// The next message.
    ///
    /// # Panics
    /// When none comes within five seconds.
    #[allow(clippy::panic, reason = "a test's assertion")]
    pub async fn next(&mut self) -> I {
        match tokio::time::timeout(PATIENCE, self.messages.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => panic!("nobody can send to the {} probe any more", I::SERVICE),
            Err(_) => panic!("no message reached the {} probe within {PATIENCE:?}", I::SERVICE),
        }
    }

    /// A message that is already there.
    pub fn try_next(&mut self) -> Option<I> {
        self.messages.try_recv().ok()
    }
}

/// A probe and the address that leads to it. Messages pass through their wire form.
pub fn probe<I: Inbox>() -> (Remote<I>, Probe<I>) {
    let (sender, messages) = mpsc::unbounded_channel();
    let deliver: Deliver = Arc::new(move |incoming| {
        for Incoming { name, body, answer, .. } in incoming {
            let port = match answer {
                Answer::Asked(port) => Some(port),
                Answer::Told(_) => None,
            };
            if let Ok(message) = I::decode(name, &body, port) {
                // A dropped probe drops the message, whose reply then refuses.
                let _probe_gone = sender.send(message);
            }
        }
    });
    (Remote::new(Route::Probe(deliver), test_sender()), Probe { messages })
}

/// A role that runs in a test.
pub struct Started<A: RoleActor> {
    /// Its address.
    pub remote: Remote<A::Inbox>,
    /// Its own messages.
    pub local: LocalSender<A::Local>,
    activity: Arc<Activity>,
    drain: watch::Sender<bool>,
    task: JoinHandle<Result<A, ActorError>>,
}

/// Starts a role.
pub fn start<A: RoleActor>(actor: A) -> Started<A> {
    let mailbox = Shared::new(MailboxConfig::default());
    let (drain, draining) = watch::channel(false);
    let gate = Arc::new(Gate { trusting: true, ..Gate::default() });
    let activity = Arc::new(Activity::default());
    let executor = Executor {
        actor,
        mailbox: mailbox.clone(),
        activity: activity.clone(),
        gate: gate.clone(),
        lease: Lease::of(Role::Debug),
        guard: Guard::new::<A::Inbox>(Role::Debug, None),
        handled: Handled::new(None),
        drain: draining,
    };
    let task = tokio::spawn(executor.run());
    let local = LocalSender::new(mailbox.clone());
    let deliver: Deliver = Arc::new(move |incoming| admit::<A::Inbox, _>(&gate, &mailbox, incoming));
    Started { remote: Remote::new(Route::Probe(deliver), test_sender()), local, activity, drain, task }
}

impl<A: RoleActor> Started<A> {
    /// The role's last status as (name, value) pairs.
    pub fn status(&self) -> Vec<(&'static str, String)> {
        self.activity.status().map(|(status, _)| status.fields).unwrap_or_default()
    }

    /// Its address for another sender than the test: that role, that incarnation, under that epoch of its lease.
    pub fn remote_from(&self, identity: &Identity, epoch: u64) -> Remote<A::Inbox> {
        let sender = Sender::new(identity.clone(), PATIENCE, Lease::stamped(identity.role, epoch));
        Remote::new(self.remote.route().clone(), sender)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Drains it and gives the actor back, or the error that ended it.
    pub async fn stop(self) -> Result<A, ActorError> {
        self.drain.send_replace(true);
        self.finished().await
    }

    /// Waits until it ends by itself.
    pub async fn finished(self) -> Result<A, ActorError> {
        match tokio::time::timeout(PATIENCE, self.task).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(died)) => Err(ActorError::Broken(format!("the handler panicked: {died}"))),
            Err(_) => Err(ActorError::Temporary(format!("the role did not end within {PATIENCE:?}"))),
        }
    }
}

fn test_sender() -> Arc<Sender> {
    Sender::new(Identity::new(Role::Debug, "test"), PATIENCE, Lease::of(Role::Debug))
}
