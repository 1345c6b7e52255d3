//! Leases for the senders of a recording. Storage takes a write of chain or bridge from the holder on record only, and on the
//! database of a replay that is whoever held it when the copy was made, or nobody.
//!
//! | message of a recording | so |
//! |---|---|
//! | of a role that acts under no lease, or under none then (epoch 0) | as it is |
//! | the first of an incarnation that held one | the lease is acquired for that incarnation; whoever is in its way is gone |
//! | any of an incarnation that holds one | under the epoch that it was given here |
//! | `RenewLease`, `ReleaseLease` | for that epoch, too |

use std::collections::BTreeMap;

use alys_proto::Role;
use alys_proto::storage::{AcquireLease, LeaseVerdict, ReleaseLease, RenewLease};
use alys_proto::wire::Ask;
use alys_proto::{Message as _, storage};

use super::replay::Entry;
use crate::header::Header;
use crate::identity::Incarnation;

/// The longest that storage gives: a replay renews nothing by itself.
const TERM_MILLIS: u64 = 600_000;

/// Who holds what on the database of the replay.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: BTreeMap<Role, (Incarnation, u64)>,
}

impl Leases {
    /// The message as storage takes it.
    pub(super) async fn under(&mut self, entry: &Entry<'_>, name: &str, header: Header, body: Vec<u8>) -> (Header, Vec<u8>) {
        if !header.sender.is_fenced() || header.epoch() == 0 {
            return (header, body);
        }
        let holder = (header.sender, header.incarnation);
        let epoch = match self.held.get(&holder.0) {
            Some((incarnation, epoch)) if *incarnation == holder.1 => *epoch,
            _ => match acquire(entry, header).await {
                Some(epoch) => {
                    self.held.insert(holder.0, (holder.1, epoch));
                    epoch
                }
                // It is refused, and says why.
                None => return (header, body),
            },
        };
        let body = match name {
            <RenewLease as Ask<storage::Inbox>>::NAME => RenewLease { epoch }.encode_to_vec(),
            <ReleaseLease as Ask<storage::Inbox>>::NAME => ReleaseLease { epoch }.encode_to_vec(),
            _ => body,
        };
        (header.with_epoch(epoch), body)
    }
}

/// The epoch that storage gives; `None`: it gives none.
async fn acquire(entry: &Entry<'_>, header: Header) -> Option<u64> {
    let mut gone = Vec::new();
    // Once more when somebody is in the way.
    for _ in 0..2 {
        let instance = header.sender.name().to_owned();
        let asked = AcquireLease { instance, term_millis: TERM_MILLIS, process: None, gone: std::mem::take(&mut gone) };
        let name = <AcquireLease as Ask<storage::Inbox>>::NAME;
        let answer = entry.ask(name, header.with_epoch(0), asked.encode_to_vec()).await;
        let verdict = LeaseVerdict::decode(answer.ok()?.as_slice()).ok()?;
        let lease = verdict.lease?;
        if verdict.granted {
            return Some(lease.epoch);
        }
        gone = lease.incarnation;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use alys_proto::storage::Lease;

    use super::*;
    use crate::port::{Answer, Deliver};

    const RECORDED: Incarnation = Incarnation(7);

    fn header(sender: Role, incarnation: Incarnation, epoch: u64) -> Header {
        Header { sender, incarnation, ..Header::default() }.with_epoch(epoch)
    }

    /// A storage on whose record `Incarnation(1)` holds epoch 3 of every lease, and how often it was asked for one.
    fn storage() -> (Deliver, Arc<Mutex<u32>>) {
        let (record, asked) = (Mutex::new((Incarnation(1).to_bytes(), 3u64)), Arc::new(Mutex::new(0)));
        let count = asked.clone();
        let enter: Deliver = Arc::new(move |incoming| {
            let incoming = incoming.next().unwrap();
            assert_eq!((incoming.name, incoming.header.epoch()), ("AcquireLease", 0));
            *count.lock().unwrap() += 1;
            let request = AcquireLease::decode(incoming.body.as_ref()).unwrap();
            let mut record = record.lock().unwrap();
            let granted = request.gone == record.0;
            if granted {
                *record = (incoming.header.incarnation.to_bytes(), record.1 + 1);
            }
            let lease = Lease { epoch: record.1, incarnation: record.0.clone(), ..Lease::default() };
            if let Answer::Asked(port) = incoming.answer {
                port(Ok(LeaseVerdict { granted, lease: Some(lease) }.encode_to_vec()));
            }
        });
        (enter, asked)
    }

    #[tokio::test]
    async fn a_sender_that_held_a_lease_holds_one_here() {
        let (enter, asked) = storage();
        let (entry, mut leases) = (Entry(&enter), Leases::default());
        let mut under = async |name: &str, header| {
            let (header, body) = leases.under(&entry, name, header, vec![9]).await;
            (header.epoch(), body)
        };
        assert_eq!(under("GetHead", header(Role::Sync, RECORDED, 0)).await, (0, vec![9]));
        assert_eq!(under("AcquireLease", header(Role::Chain, RECORDED, 0)).await, (0, vec![9]));
        assert_eq!(*asked.lock().unwrap(), 0, "it held none then");
        assert_eq!(under("CommitBlock", header(Role::Chain, RECORDED, 12)).await, (4, vec![9]));
        assert_eq!(*asked.lock().unwrap(), 2, "refused, and told that the holder is gone");
        assert_eq!(under("AppendWal", header(Role::Chain, RECORDED, 12)).await, (4, vec![9]));
        assert_eq!(under("RenewLease", header(Role::Chain, RECORDED, 12)).await, (4, RenewLease { epoch: 4 }.encode_to_vec()));
        assert_eq!(*asked.lock().unwrap(), 2, "once for each start");
        assert_eq!(under("CommitBlock", header(Role::Chain, Incarnation(8), 13)).await.0, 5);
        assert_eq!(
            under("ReleaseLease", header(Role::Chain, Incarnation(8), 13)).await.1,
            ReleaseLease { epoch: 5 }.encode_to_vec()
        );
    }
}
