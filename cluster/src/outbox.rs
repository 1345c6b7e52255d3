//! Takes what this role has posted to its receivers, until they have handled it. The messages are in storage; a restarted
//! process finds those of the one before it. See [`crate::delivery`] for the rules.

use std::collections::BTreeMap;
use std::time::Duration;

use alys_proto::cluster::Header;
use alys_proto::storage::dead_letter::Reason;
use alys_proto::storage::{self, ClearPosted, DeadLetter, GetPosted, PostedMessage};
use alys_proto::{Refused, Role};

use crate::cluster::Cluster;
use crate::delivery::{Next, after};
use crate::identity::unix_millis;
use crate::remote::Remote;

/// A message whose receiver is away, and a storage that is, are tried again so often.
const RETRY: Duration = Duration::from_secs(1);
/// One attempt may wait so long for the receiver to handle it.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The task that delivers.
pub(crate) struct Outbox {
    pub(crate) cluster: Cluster,
}

impl Outbox {
    /// Delivers for as long as the process may act.
    pub(crate) async fn run(self) {
        let storage: Remote<storage::Inbox> = self.cluster.remote();
        loop {
            match self.round(&storage).await {
                Ok(true) => {
                    // All delivered, so far as this page went. A post wakes us; the timeout is for what came in between.
                    let posted = self.cluster.sender.posted.notified();
                    let _woken = tokio::time::timeout(RETRY.saturating_mul(10), posted).await;
                }
                Ok(false) => tokio::time::sleep(RETRY).await,
                Err(refused) => {
                    tracing::debug!(%refused, "the outbox waits for storage");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// One attempt for all receivers side by side; whether nothing is left.
    async fn round(&self, storage: &Remote<storage::Inbox>) -> Result<bool, Refused> {
        let mut by_receiver: BTreeMap<i32, Vec<PostedMessage>> = BTreeMap::new();
        for message in storage.ask(GetPosted {}).await?.messages {
            by_receiver.entry(message.receiver).or_default().push(message);
        }
        let groups = by_receiver.into_values().map(|messages| self.deliver_in_order(storage, messages));
        Ok(futures::future::join_all(groups).await.into_iter().all(|delivered| delivered))
    }

    async fn deliver_in_order(&self, storage: &Remote<storage::Inbox>, messages: Vec<PostedMessage>) -> bool {
        for message in messages {
            let answer = self.cluster.deliver(&message, ATTEMPT).await;
            let (number, method) = (message.number, message.method.clone());
            let dead = match after(answer) {
                Next::Clear => None,
                Next::Again => return false,
                Next::Dead(refused) => Some(self.letter(message, &refused)),
            };
            if let Err(refused) = storage.ask(ClearPosted { number, dead }).await {
                tracing::debug!(number, method, %refused, "a delivered message stays in the outbox; it is sent again");
                return false;
            }
        }
        true
    }

    fn letter(&self, message: PostedMessage, refused: &Refused) -> DeadLetter {
        let reason = if matches!(refused, Refused::Malformed(_)) { Reason::Malformed } else { Reason::Refused };
        let identity = self.cluster.identity();
        let header = Header {
            sender: identity.role.into(),
            incarnation: identity.incarnation.to_bytes(),
            traceparent: message.traceparent,
            posted: message.number,
            ..Header::default()
        };
        DeadLetter {
            reason: reason.into(),
            explanation: refused.to_string(),
            receiver: message.receiver,
            service: Role::try_from(message.receiver).unwrap_or(Role::Unspecified).name().to_owned(),
            method: message.method,
            body: message.body,
            header: Some(header),
            died_unix_millis: unix_millis(),
            ..DeadLetter::default()
        }
    }
}
