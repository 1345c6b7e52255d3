//! Looks at the cluster at an interval, and carries out what the keys ask. A mailbox that was frozen from here is held by
//! these looks: when this process is gone it thaws.

use std::collections::BTreeSet;
use std::time::Duration;

use alys_proto::Refused;
use alys_proto::cluster::{MailboxFreeze, MailboxPeek, MailboxStep, MailboxThaw};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::super::control::{RENEW, who};
use super::super::source::{DEADLINE, Source};
use super::model::{Change, Close, Look};

/// Messages and log lines that a picture has room for.
const MOST_SHOWN: usize = 100;

/// What the keys ask.
#[derive(Debug)]
pub(super) enum Ask {
    LookAt(String),
    Change(Change, String),
}

/// What came of a look.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) look: Look,
    pub(super) notice: Option<String>,
}

pub(super) struct Fetcher {
    source: Source,
    interval: Duration,
    looks: watch::Sender<Option<Seen>>,
    selected: String,
    held: BTreeSet<String>,
    renewed: Instant,
    who: String,
}

impl Fetcher {
    pub(super) fn new(source: Source, interval: Duration, looks: watch::Sender<Option<Seen>>) -> Self {
        let (held, renewed) = (BTreeSet::new(), Instant::now());
        Self { source, interval, looks, selected: String::new(), held, renewed, who: who() }
    }

    /// Until the terminal is gone.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut notice = None;
        loop {
            let look = Look { facts: self.source.facts().await, close: close(&self.source, &self.selected).await };
            self.looks.send_replace(Some(Seen { look, notice: notice.take() }));
            if self.renewed.elapsed() >= RENEW {
                self.renewed = Instant::now();
                notice = self.renew().await;
            }
            let ask = match tokio::time::timeout(self.interval, asks.recv()).await {
                Ok(Some(ask)) => ask,
                Ok(None) => break,
                Err(_interval_over) => continue,
            };
            match ask {
                Ask::LookAt(instance) => self.selected = instance,
                Ask::Change(change, instance) => notice = Some(self.change(change, &instance).await),
            }
            // What was asked meanwhile is one look.
            while let Ok(ask) = asks.try_recv() {
                match ask {
                    Ask::LookAt(instance) => self.selected = instance,
                    Ask::Change(change, instance) => notice = Some(self.change(change, &instance).await),
                }
            }
        }
        for instance in std::mem::take(&mut self.held) {
            self.change(Change::Thaw, &instance).await;
        }
    }

    async fn change(&mut self, change: Change, instance: &str) -> String {
        match self.ask(change, instance).await {
            Ok(()) => match change {
                Change::Freeze => {
                    self.held.insert(instance.to_owned());
                    format!("{instance} is frozen while this runs: n steps, t thaws")
                }
                Change::Step => format!("{instance}: one message let through"),
                Change::Thaw => {
                    self.held.remove(instance);
                    format!("{instance} is served again")
                }
            },
            Err(refused) => format!("{instance}: {refused}"),
        }
    }

    async fn renew(&mut self) -> Option<String> {
        let mut notice = None;
        for instance in self.held.clone() {
            if let Err(refused) = self.ask(Change::Freeze, &instance).await {
                self.held.remove(&instance);
                notice = Some(format!("{instance} is no longer frozen from here: {refused}"));
            }
        }
        notice
    }

    async fn ask(&self, change: Change, instance: &str) -> Result<(), Refused> {
        let Source::Live(live) = &self.source else { return Err(Refused::Failed("this is a snapshot".into())) };
        let inspector = live.inspector(instance).map_err(|failure| Refused::Unreachable(failure.to_string()))?;
        let who = self.who.clone();
        match change {
            Change::Freeze => inspector.ask_within(DEADLINE, MailboxFreeze { who, reason: "top".into() }).await,
            Change::Step => inspector.ask_within(DEADLINE, MailboxStep { who }).await,
            Change::Thaw => inspector.ask_within(DEADLINE, MailboxThaw { who }).await,
        }
        .map(drop)
    }
}

/// What is seen of one instance only; none when it has no mailbox.
pub(super) async fn close(source: &Source, instance: &str) -> Option<Close> {
    if instance.is_empty() {
        return None;
    }
    let limit = u32::try_from(MOST_SHOWN).unwrap_or(u32::MAX);
    let peek = source.peek(instance, MailboxPeek { limit, ..MailboxPeek::default() }).await.unwrap_or_default();
    Some(Close { instance: instance.to_owned(), peek, log: source.log(instance, MOST_SHOWN).await })
}
