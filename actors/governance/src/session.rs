//! Talks to the stream role: connects, registers, works on what it asks, connects again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use alys_proto::governance::{FromMember, Heartbeat, ToMember, to_member};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::core::session::{Action, Answer, MAX_WORK, SessionCore, Subject};
use crate::io::sidechain::Address;
use crate::node::Node;
use crate::wish::Wishing;

/// Requests worked on in parallel; each asks bitcoind a few questions.
const WORKERS: usize = 8;
/// Messages that wait for the socket: all that may be unacknowledged, and as many heartbeats.
const OUTBOUND: usize = 512;
/// Between two looks for what the operator wishes.
const LOOK: Duration = Duration::from_secs(1);
/// The stream confirms a registration within this.
const REGISTRATION: Duration = Duration::from_secs(10);

/// Waits between attempts: doubling from 200 ms to 5 s, each ± 50 % so that members do not come all at once.
#[derive(Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(crate) fn next(&mut self) -> Duration {
        let doubled = Self::FIRST.saturating_mul(2_u32.saturating_pow(self.attempts)).min(Self::LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        doubled.mul_f64(rand::random_range(0.5..1.5))
    }
}

type Finished = (Subject, Answer);

/// Never returns.
pub(crate) async fn talk(node: Arc<Node>, address: Address) {
    let mut core = SessionCore::new(node.register(rand::random()));
    let (finished, mut answers) = mpsc::channel(MAX_WORK);
    let workers = Arc::new(Semaphore::new(WORKERS));
    let mut backoff = Backoff::default();
    loop {
        let mut connection =
            Connection { node: &node, core: &mut core, answers: &mut answers, finished: &finished, workers: &workers };
        let why = connection.drive(&address).await;
        if core.is_registered() {
            backoff = Backoff::default();
        }
        core.disconnected();
        node.set_registered(false);
        let wait = backoff.next();
        tracing::warn!(%why, again_in = ?wait, "no session with the stream");
        let again = Instant::now() + wait;
        // Work that is under way ends meanwhile; its answers are kept.
        while let Ok(Some((subject, answer))) = tokio::time::timeout_at(again.into(), answers.recv()).await {
            let _kept = core.finished(&subject, answer);
        }
        node.set_dropped(core.unanswered());
    }
}

struct Connection<'a> {
    node: &'a Arc<Node>,
    core: &'a mut SessionCore,
    answers: &'a mut mpsc::Receiver<Finished>,
    finished: &'a mpsc::Sender<Finished>,
    workers: &'a Arc<Semaphore>,
}

impl Connection<'_> {
    /// Until the connection ends; returns why.
    async fn drive(&mut self, address: &Address) -> String {
        let mut client = match address.connect().await {
            Ok(client) => client,
            Err(cause) => return with_causes(&cause),
        };
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        if outbound.try_send(self.core.connect()).is_err() {
            return "own outbound queue".to_owned();
        }
        let opened = tokio::time::timeout(REGISTRATION, client.session(ReceiverStream::new(messages))).await;
        let mut inbound = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return status.message().to_owned(),
            Err(_elapsed) => return "the stream does not open a session".to_owned(),
        };
        let mut heartbeat = tokio::time::interval(self.node.config.heartbeat);
        let (mut wishes, mut wishing) = (tokio::time::interval(LOOK), Wishing::default());
        let mut heard = Instant::now();
        loop {
            let sent = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        heard = Instant::now();
                        self.received(message, &outbound)
                    }
                    Ok(None) => Err("the stream ended the session".to_owned()),
                    Err(status) => Err(status.message().to_owned()),
                },
                Some((subject, answer)) = self.answers.recv() => {
                    let action = self.core.finished(&subject, answer);
                    self.node.set_dropped(self.core.unanswered());
                    self.perform(action, &outbound)
                }
                _ = heartbeat.tick() => self.heartbeat(heard, &outbound),
                _ = wishes.tick() => {
                    let action = wishing.next(self.node).and_then(|record| self.core.propose(record));
                    self.perform(action, &outbound)
                }
            };
            if let Err(why) = sent {
                return why;
            }
        }
    }

    fn received(&mut self, message: ToMember, outbound: &mpsc::Sender<FromMember>) -> Result<(), String> {
        match &message.payload {
            Some(to_member::Payload::HeadChanged(head)) => self.node.told_head(head.height),
            Some(to_member::Payload::Heartbeat(heartbeat)) => self.node.told_head(heartbeat.chain_height),
            _ => {}
        }
        let actions = self.core.received(message).map_err(|fault| fault.to_string())?;
        self.node.set_registered(self.core.is_registered());
        self.perform(actions, outbound)
    }

    fn heartbeat(&self, heard: Instant, outbound: &mpsc::Sender<FromMember>) -> Result<(), String> {
        let silent = heard.elapsed();
        if silent >= self.node.config.silence || (!self.core.is_registered() && silent >= REGISTRATION) {
            return Err(format!("nothing heard for {silent:?}"));
        }
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let heartbeat = Heartbeat {
            unix_millis: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            chain_height: self.node.head(),
            // The one it said last: it may take its time.
            bitcoin_height: self.node.bitcoin_height(),
        };
        self.core.heartbeat(heartbeat).map_or(Ok(()), |message| send(outbound, message))
    }

    fn perform(&self, actions: impl IntoIterator<Item = Action>, outbound: &mpsc::Sender<FromMember>) -> Result<(), String> {
        for action in actions {
            match action {
                Action::Send(message) => send(outbound, message)?,
                Action::Follow => self.node.news(),
                Action::Work(subject, work) => {
                    let (node, finished, workers) = (self.node.clone(), self.finished.clone(), self.workers.clone());
                    self.node.spawn(async move {
                        // The semaphore is never closed.
                        let _permit = workers.acquire_owned().await;
                        let answer = node.work(work).await;
                        let _stopping = finished.send((subject, answer)).await;
                    });
                }
            }
        }
        Ok(())
    }
}

fn send(outbound: &mpsc::Sender<FromMember>, message: FromMember) -> Result<(), String> {
    outbound.try_send(message).map_err(|_full| "the stream does not read".to_owned())
}

/// A transport error says nothing by itself; its causes do.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
