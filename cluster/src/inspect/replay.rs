//! A recording through a role's own mailbox and executor. Each message arrives as it did, with the role that sent it in its
//! header; the next one comes when it is answered, or at once when nobody waited for an answer. To storage it comes under a
//! lease of its sender on the replay's own database: see [`super::replay_lease`].

use std::iter::once;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_proto::{Refused, Role};
use tokio::sync::{oneshot, watch};

use super::recording::{Recorded, Recording, Replayed, write_line};
use super::replay_lease::Leases;
use crate::exit::ActorError;
use crate::header::Header;
use crate::port::{Answer, Deliver, Incoming};
use crate::vitals::Vitals;

/// Longer than any deadline that a role gives itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether everything was handled.
const LOOK: Duration = Duration::from_millis(20);

/// Replays a file into the role's door, if there is one to replay, and then lets the process end.
pub(crate) fn start(file: Option<PathBuf>, vitals: Arc<Vitals>, enter: Deliver, drain: watch::Sender<bool>) {
    let Some(file) = file else { return };
    tokio::spawn(async move {
        if let Err(error) = feed(&file, &vitals, &enter).await {
            tracing::error!(%error, "the replay ended early");
        }
        drain.send_replace(true);
    });
}

/// Replays a whole file and tells each outcome on standard output.
async fn feed(file: &Path, vitals: &Vitals, enter: &Deliver) -> Result<(), ActorError> {
    let read = Recording::read(file);
    let (_, messages) = read.map_err(|cause| ActorError::Configuration(format!("{}: {cause}", file.display())))?;
    let mut leases = (vitals.identity.role == Role::Storage).then(Leases::default);
    for (position, message) in messages.iter().enumerate() {
        let replayed = one(position.saturating_add(1), message, &Entry(enter), leases.as_mut()).await;
        write_line(&mut std::io::stdout(), &replayed)
            .map_err(|cause| ActorError::Temporary(format!("nobody reads the replay: {cause}")))?;
    }
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up && !(vitals.mailbox().depth == 0 && vitals.in_flight().is_none()) {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The door of the role, and how a question goes through it.
pub(super) struct Entry<'a>(pub(super) &'a Deliver);

impl Entry<'_> {
    fn tell(&self, name: &str, header: Header, body: Vec<u8>) {
        (self.0)(&mut once(Incoming { name, header, body: body.into(), answer: Answer::Told(None) }));
    }

    pub(super) async fn ask(&self, name: &str, header: Header, body: Vec<u8>) -> Result<Vec<u8>, Refused> {
        let (sender, answer) = oneshot::channel();
        // A dropped receiver has stopped waiting.
        let answered = Answer::Asked(Box::new(move |answer| drop(sender.send(answer))));
        (self.0)(&mut once(Incoming { name, header, body: body.into(), answer: answered }));
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_dropped)) => Err(Refused::NotReady("the role ended".into())),
            Err(_elapsed) => Err(Refused::TooLate(format!("no answer within {PATIENCE:?}"))),
        }
    }
}

async fn one(number: usize, message: &Recorded, entry: &Entry<'_>, leases: Option<&mut Leases>) -> Replayed {
    // `Recording::read` has checked both.
    let mut header = Header::from(&message.header().unwrap_or_default());
    let mut body = message.body().unwrap_or_default();
    if let Some(leases) = leases {
        (header, body) = leases.under(entry, &message.name, header, body).await;
    }
    let begun = Instant::now();
    let outcome = if message.told {
        entry.tell(&message.name, header, body);
        Ok(Vec::new())
    } else {
        entry.ask(&message.name, header, body).await
    };
    Replayed {
        number,
        name: message.name.clone(),
        sender: message.sender.clone(),
        told: message.told,
        reply_bytes: outcome.as_ref().map_or(0, Vec::len),
        refused: outcome.err().map(|refused| refused.to_string()),
        took_micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use alys_proto::{Message as _, cluster};

    use super::*;

    #[tokio::test]
    async fn each_message_arrives_as_it_did_and_its_answer_is_told() {
        let enter: Deliver = Arc::new(|incoming| {
            let Some(incoming) = incoming.next() else { return };
            assert_eq!((incoming.header.sender, incoming.header.epoch()), (Role::Chain, 5));
            assert_eq!(incoming.body.as_ref(), [7]);
            if let Answer::Asked(port) = incoming.answer {
                port(if incoming.name == "GetHead" { Ok(vec![0; 40]) } else { Err(Refused::Busy("full".into())) });
            }
        });
        let header = cluster::Header { sender: Role::Chain.into(), epoch: 5, ..Default::default() }.encode_to_vec();
        let message = |name: &str, told| Recorded {
            unix_millis: 0,
            name: name.into(),
            sender: "chain".into(),
            told,
            header: hex::encode(&header),
            body: "07".into(),
        };
        let answered = one(1, &message("GetHead", false), &Entry(&enter), None).await;
        assert_eq!((answered.reply_bytes, answered.refused), (40, None));
        let refused = one(2, &message("GetWal", false), &Entry(&enter), None).await;
        assert_eq!(refused.refused.as_deref(), Some("busy: full"));
        assert!(one(3, &message("Told", true), &Entry(&enter), None).await.told);
    }
}
