//! The guard against a message that ends its process again and again.
//!
//! | what happens | so |
//! |---|---|
//! | a handler panics, or fails with `Broken`, over a message | storage is told before the process ends; the third time it is a dead letter |
//! | the same message comes again, whoever repeats it | refused without being handled |
//! | a person requeues the letter | it is handled once more, as if it had just come |
//! | and is handled | it leaves the store |
//! | and ends the process again | dead again |
//!
//! A failure that passes (`Temporary`, `Network`, `Fenced`) or that every message would meet (`Configuration`) is no fault of
//! the message. Storage and the supervisor guard themselves not: the one would ask itself, the other runs before it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alys_proto::storage::dead_letter::Reason;
use alys_proto::storage::{self, DeadLetter, DropDeadLetter, ReportDeath, TakeRequeued};
use alys_proto::wire::{self, Method};
use alys_proto::{Inbox, Refused, Role};

use crate::exit::ActorError;
use crate::guard::panic_text;
use crate::header::Header;
use crate::identity::unix_millis;
use crate::inspect::InFlight;
use crate::pack::{Content, Packed};
use crate::port::{Answer, Envelope};
use crate::remote::Remote;

/// A start without storage goes on after this: the guard then begins when storage is there.
const AT_START: Duration = Duration::from_secs(3);
/// A process that is ending waits so long for storage to take note of it.
const AT_END: Duration = Duration::from_secs(1);
/// How soon a requeued letter is taken.
const LOOK: Duration = Duration::from_secs(2);

/// What became of the role's work: an error, or a caught panic.
pub(crate) type Ended<A> = Result<Result<A, ActorError>, Box<dyn std::any::Any + Send>>;

/// What a message did to its handler; `None` when the end is no message's fault.
pub(crate) fn blame<A>(ended: &Ended<A>) -> Option<String> {
    match ended {
        Err(panic) => Some(format!("panicked: {}", panic_text(&**panic))),
        Ok(Err(error @ ActorError::Broken(_))) => Some(error.to_string()),
        Ok(_) => None,
    }
}

/// Knows the messages that must not be handled.
pub(crate) struct Guard {
    role: Role,
    service: &'static str,
    storage: Option<Remote<storage::Inbox>>,
    letters: Mutex<Letters>,
    /// There are dead letters: as long as there is none, no message is compared with them.
    any: AtomicBool,
}

#[derive(Default)]
struct Letters {
    dead: BTreeSet<Vec<u8>>,
    /// Requeued ones that this process has taken already.
    taken: BTreeSet<u64>,
}

impl Guard {
    /// Of a role that others reach through `I`. `storage`: none guards nothing.
    pub(crate) fn new<I: Inbox>(role: Role, storage: Option<Remote<storage::Inbox>>) -> Arc<Self> {
        let storage = storage.filter(|_| !matches!(role, Role::Storage | Role::Supervisor | Role::Debug));
        Arc::new(Self { role, service: I::SERVICE, storage, letters: Mutex::default(), any: AtomicBool::new(false) })
    }

    /// Whether this message is a dead letter.
    pub(crate) fn check(&self, envelope: &Envelope) -> Result<(), Refused> {
        if !self.any.load(Ordering::Acquire) || envelope.letter != 0 {
            return Ok(());
        }
        let letters = lock(&self.letters);
        let digest = wire::digest(self.service, envelope.content.method.name, &envelope.content.body);
        if letters.dead.contains(digest.as_slice()) {
            return Err(Refused::Failed(format!(
                "{} ended {} too often: it is a dead letter (`alys debug deadletter ls`)",
                envelope.content.method.name, self.service
            )));
        }
        Ok(())
    }

    /// A requeued letter was handled: it leaves the store.
    pub(crate) fn handled(&self, id: u64, method: &'static str) {
        let Some(storage) = self.storage.clone() else { return };
        tracing::info!(id, method, "a requeued dead letter is handled");
        tokio::spawn(async move {
            if let Err(refused) = storage.ask(DropDeadLetter { id }).await {
                tracing::warn!(id, %refused, "a handled dead letter stays in the store");
            }
        });
    }

    /// The process ends over the message in hand: tells storage, if [`blame`] says that a message did it.
    pub(crate) async fn report(&self, explanation: Option<String>, in_hand: Option<InFlight>) {
        let (Some(explanation), Some(guilty), Some(storage)) = (explanation, in_hand, &self.storage) else { return };
        let Some(content) = &guilty.content else { return };
        let method = content.method.name;
        let letter = self.letter(guilty.letter, content, explanation);
        match storage.ask_within(AT_END, ReportDeath { letter: Some(letter) }).await {
            Ok(death) => tracing::error!(method, deaths = death.deaths, dead_letter = death.dead, "a message ended this process"),
            Err(refused) => tracing::error!(method, %refused, "a message ended this process, and storage was not told"),
        }
    }

    fn letter(&self, id: u64, guilty: &Content, explanation: String) -> DeadLetter {
        DeadLetter {
            id,
            reason: Reason::KilledItsHandler.into(),
            // The text of a panic may hold whatever was being handled.
            explanation: explanation.chars().take(2_000).collect(),
            receiver: self.role.into(),
            service: self.service.to_owned(),
            method: guilty.method.name.to_owned(),
            body: guilty.body.to_vec(),
            header: Some(guilty.header.into()),
            died_unix_millis: unix_millis(),
            ..DeadLetter::default()
        }
    }

    /// Reads the dead letters before the first message, then again and again; requeued ones go to `take`.
    pub(crate) async fn start<I: Inbox>(self: &Arc<Self>, take: impl Fn(Envelope) + Send + Sync + 'static) {
        let Some(storage) = self.storage.clone() else { return };
        if let Err(refused) = self.read::<I>(&storage, AT_START, &take).await {
            tracing::warn!(%refused, "starting without the list of dead letters");
        }
        let guard = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Err(refused) = guard.read::<I>(&storage, LOOK, &take).await {
                    tracing::debug!(%refused, "no list of dead letters");
                }
            }
        });
    }

    async fn read<I: Inbox>(
        &self,
        storage: &Remote<storage::Inbox>,
        deadline: Duration,
        take: &impl Fn(Envelope),
    ) -> Result<(), Refused> {
        let found = storage.ask_within(deadline, TakeRequeued {}).await?;
        let mut letters = lock(&self.letters);
        letters.dead = found.dead.into_iter().collect();
        self.any.store(!letters.dead.is_empty(), Ordering::Release);
        letters.taken.retain(|id| found.letters.iter().any(|letter| letter.id == *id));
        for letter in found.letters {
            match I::method(&letter.method) {
                Some(method) if letters.taken.insert(letter.id) => take(envelope(method, letter)),
                Some(_taken_before) => {}
                None => tracing::warn!(id = letter.id, letter.method, "a requeued dead letter is of a method that is gone"),
            }
        }
        Ok(())
    }
}

/// The letter as if it had just come: nobody waits for its answer, and it does not expire.
fn envelope(method: &'static Method, letter: DeadLetter) -> Envelope {
    let id = letter.id;
    let log = move |answer: Result<Vec<u8>, Refused>| match answer {
        Ok(_) => tracing::info!(id, "a requeued dead letter is answered"),
        Err(refused) => tracing::warn!(id, %refused, "a requeued dead letter is refused"),
    };
    let mut header = letter.header.as_ref().map_or_else(Header::default, Header::from);
    header.stamp.deadline = 0;
    let answer = if method.told { Answer::Told(None) } else { Answer::Asked(Box::new(log)) };
    Envelope { content: Packed::one(Content { method, header, body: letter.body.into() }), answer, letter: id }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Changes under these locks are single assignments.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "poison_tests.rs"]
mod tests;
