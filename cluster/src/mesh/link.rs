//! Links: which peers this process is joined to, each by four streams that live and die together.
//!
//! | a new link to a peer | there is | so |
//! |---|---|---|
//! | we dialed it | any other | the other stays, ours is dropped |
//! | it dialed us | none | taken |
//! | it dialed us | one that it had dialed | that one is dead on its side: ended, the new one taken |
//! | it dialed us | one that we dialed, we started later | ours stays: both dialed at once, the younger's link wins |
//! | it dialed us | one that we dialed, it started later | ours is ended, the new one taken |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alys_proto::Lane;
use alys_proto::cluster::Link;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, Losses};
use super::pulse::Pulse;
use super::refusals::Refusals;
use super::room::Rooms;
use super::window::{self, Windows};
use crate::config::MailboxConfig;
use crate::identity::{Identity, Incarnation};

/// Peers that one process may be linked to: a large cluster has a few dozen.
const MOST_LINKS: usize = 512;

/// A link's streams are being connected; all stand; the peer closed one; it has ended.
const BEGUN: u8 = 0;
const OPEN: u8 = 1;
const CLOSED: u8 = 2;
const ENDED: u8 = 3;

/// Lanes of a link.
const LANES: u8 = 3;
/// What is on its way on a closed link may take so long: once or twice a lost packet's repetition.
const LINGER: Duration = Duration::from_millis(500);

/// Another process, as long as it is linked.
pub(crate) struct Peer {
    /// Who it is, as its certificate or its user proves.
    pub(crate) identity: Identity,
    /// `unix` or `tls`.
    pub(crate) transport: &'static str,
    /// The link's number, chosen by who dialed.
    pub(crate) link: u64,
    dialed: bool,
    control: Arc<Channel>,
    normal: Arc<Channel>,
    bulk: Arc<Channel>,
    pulse: Mutex<(Instant, Pulse)>,
    /// Of [`BEGUN`], [`OPEN`], [`CLOSED`], [`ENDED`]: read for every message that is sent.
    state: AtomicU8,
    /// Lanes that are not read to their end.
    lanes: AtomicU8,
    /// Cancelled when the link ends, for whatever reason.
    pub(crate) ended: CancellationToken,
    links: Links,
}

impl Peer {
    /// The stream of a lane.
    pub(crate) const fn channel(&self, lane: Lane) -> &Arc<Channel> {
        match lane {
            Lane::Control => &self.control,
            Lane::Normal => &self.normal,
            Lane::Bulk => &self.bulk,
        }
    }

    /// Whether this process dialed the link.
    pub(crate) const fn was_dialed(&self) -> bool {
        self.dialed
    }

    /// All streams stand.
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// The last stream stands: messages may go.
    pub(crate) fn complete(&self) {
        if self.state.compare_exchange(BEGUN, OPEN, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        tracing::debug!(peer = %self.identity.instance, incarnation = %self.identity.incarnation, transport = self.transport, "linked");
        self.links.tell();
    }

    /// The peer closes the link. No message goes there any more; what is on its way from there is still taken.
    pub(crate) fn close(self: &Arc<Self>, why: &str) {
        match self.state.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {}
            Err(BEGUN) => return self.end(why),
            Err(_closed_or_ended) => return,
        }
        self.links.forget(self);
        self.links.tell();
        // None when the process ends.
        let Ok(runtime) = Handle::try_current() else { return self.end(why) };
        let (peer, why) = (self.clone(), why.to_owned());
        runtime.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(LINGER) => peer.end(&why),
                () = peer.ended.cancelled() => {}
            }
        });
    }

    /// A lane is read to its end: whether it was the last one.
    pub(crate) fn is_last_lane(&self) -> bool {
        self.lanes.fetch_sub(1, Ordering::AcqRel) <= 1
    }

    /// Ends the link. Everybody who waits for the peer learns it now.
    pub(crate) fn end(&self, why: &str) {
        let before = self.state.swap(ENDED, Ordering::AcqRel);
        if before == ENDED {
            return;
        }
        self.ended.cancel();
        self.links.forget(self);
        for channel in [&self.control, &self.normal, &self.bulk] {
            channel.end();
        }
        if before != BEGUN {
            tracing::debug!(peer = %self.identity.instance, incarnation = %self.identity.incarnation, why, "link ended");
        }
        self.links.tell();
    }

    /// The peer lives.
    pub(crate) fn hear(&self) {
        let mut pulse = self.pulse();
        let now = pulse.0.elapsed();
        pulse.1.hear(now);
    }

    /// Nothing was heard of it for too long.
    pub(crate) fn is_gone(&self) -> bool {
        let mut pulse = self.pulse();
        let now = pulse.0.elapsed();
        pulse.1.is_gone(now)
    }

    /// Questions that wait for its answers: how loaded it is, seen from here.
    pub(crate) fn under_way(&self) -> usize {
        [&self.control, &self.normal, &self.bulk].iter().map(|channel| channel.under_way()).sum()
    }

    fn pulse(&self) -> MutexGuard<'_, (Instant, Pulse)> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The links of this process.
#[derive(Clone)]
pub(crate) struct Links {
    own: Identity,
    /// What our hellos say: told messages that a peer may have under way.
    pub(super) told_window: u32,
    table: Arc<Mutex<BTreeMap<Incarnation, Arc<Peer>>>>,
    changed: watch::Sender<u64>,
    losses: Arc<Losses>,
    rooms: Rooms,
    /// Streams that never became part of a link.
    pub(super) refusals: Arc<Refusals>,
}

impl Links {
    /// Of a process with such a mailbox.
    pub(crate) fn new(own: Identity, mailbox: &MailboxConfig) -> Self {
        Self {
            own,
            told_window: window::of_mailbox(mailbox),
            table: Arc::default(),
            changed: watch::Sender::new(0),
            losses: Arc::default(),
            rooms: Rooms::default(),
            refusals: Arc::default(),
        }
    }

    /// Who we are.
    pub(crate) const fn own(&self) -> &Identity {
        &self.own
    }

    /// Claims the link to a peer; `None` when another one stays. See the table above.
    /// `told_window`: of its hello.
    pub(crate) fn claim(
        &self,
        identity: Identity,
        link: u64,
        dialed: bool,
        transport: &'static str,
        told_window: u32,
    ) -> Option<Arc<Peer>> {
        let younger = |peer: &Identity| (self.own.started_millis, self.own.incarnation) > (peer.started_millis, peer.incarnation);
        let (peer, before) = {
            let mut table = self.lock();
            let before = table.get(&identity.incarnation).cloned();
            if before.as_ref().is_some_and(|before| dialed || (before.dialed && younger(&identity))) {
                return None;
            }
            if table.len() >= MOST_LINKS {
                tracing::warn!(most = MOST_LINKS, "refused a link: there are too many");
                return None;
            }
            let peer = self.peer(identity, link, dialed, transport, Windows::new(self.told_window, told_window));
            table.insert(peer.identity.incarnation, peer.clone());
            (peer, before)
        };
        if let Some(before) = before {
            before.end("replaced by a newer link");
        }
        Some(peer)
    }

    fn peer(&self, identity: Identity, link: u64, dialed: bool, transport: &'static str, windows: Windows) -> Arc<Peer> {
        let room = self.rooms.of(identity.role);
        let channel = |bulk| Channel::new(bulk, windows, self.losses.clone(), room.clone());
        let began = Instant::now();
        Arc::new(Peer {
            identity,
            transport,
            link,
            dialed,
            control: channel(false),
            normal: channel(false),
            bulk: channel(true),
            pulse: Mutex::new((began, Pulse::new(began.elapsed()))),
            state: AtomicU8::new(BEGUN),
            lanes: AtomicU8::new(LANES),
            ended: CancellationToken::new(),
            links: self.clone(),
        })
    }

    /// A link that has begun, for its further streams.
    pub(crate) fn begun(&self, incarnation: Incarnation, link: u64) -> Option<Arc<Peer>> {
        self.lock().get(&incarnation).filter(|peer| peer.link == link).cloned()
    }

    /// Whether there is a link to this peer, complete or not.
    pub(crate) fn has(&self, incarnation: Incarnation) -> bool {
        self.lock().contains_key(&incarnation)
    }

    /// The link to this peer, if it stands.
    pub(crate) fn get(&self, incarnation: Incarnation) -> Option<Arc<Peer>> {
        self.lock().get(&incarnation).filter(|peer| peer.is_open()).cloned()
    }

    /// All links that stand.
    pub(crate) fn open(&self) -> Vec<Arc<Peer>> {
        self.lock().values().filter(|peer| peer.is_open()).cloned().collect()
    }

    /// How many streams were turned away, by why.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 4] {
        self.refusals.show()
    }

    /// How many messages were lost on links, by how.
    pub(crate) fn lost(&self) -> [(&'static str, u64); 3] {
        let Losses { returned, cut_off, malformed } = &*self.losses;
        [("returned", returned), ("cut_off", cut_off), ("malformed", malformed)]
            .map(|(how, count)| (how, count.load(Ordering::Relaxed)))
    }

    /// Changes whenever a link opens or ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// For people.
    pub(crate) fn list(&self) -> Vec<Link> {
        let describe = |peer: &Arc<Peer>| Link {
            role: peer.identity.role.into(),
            incarnation: peer.identity.incarnation.to_bytes(),
            transport: peer.transport.into(),
        };
        self.open().iter().map(describe).collect()
    }

    /// Waits until all that was sent is with the kernel.
    pub(crate) async fn flushed(&self) {
        for peer in self.open() {
            for channel in [&peer.control, &peer.normal, &peer.bulk] {
                channel.flushed().await;
            }
        }
    }

    fn forget(&self, peer: &Peer) {
        let mut table = self.lock();
        if table.get(&peer.identity.incarnation).is_some_and(|known| known.link == peer.link) {
            table.remove(&peer.identity.incarnation);
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Incarnation, Arc<Peer>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_proto::Role;

    use super::*;

    fn identity(started_millis: u64) -> Identity {
        Identity { started_millis, ..Identity::new(Role::Sync, "sync") }
    }

    #[test]
    fn one_link_a_pair_whoever_dials() {
        let links = Links::new(identity(10), &MailboxConfig::default());
        let (elder, younger) = (identity(5), identity(15));
        for peer in [&elder, &younger] {
            let dialed = links.claim(peer.clone(), 1, true, "unix", 0).unwrap();
            assert!(links.claim(peer.clone(), 2, true, "unix", 0).is_none(), "there is one");
            let accepted = links.claim(peer.clone(), 3, false, "unix", 0);
            // Both dialed at once: the link of whoever started later stays, and both ends judge alike.
            assert_eq!(accepted.is_some(), peer.started_millis > 10);
            assert_eq!(dialed.ended.is_cancelled(), peer.started_millis > 10);
        }
    }

    #[tokio::test]
    async fn a_closed_link_takes_no_message_and_lingers_for_what_is_on_its_way() {
        let links = Links::new(identity(10), &MailboxConfig::default());
        let peer = identity(15);
        let closed = links.claim(peer.clone(), 1, false, "unix", 0).unwrap();
        closed.complete();
        closed.close("closed");
        assert!(!closed.is_open() && links.get(peer.incarnation).is_none(), "it is still routed to");
        assert!(!closed.ended.is_cancelled(), "answers that are on their way are cut off");
        assert!(links.claim(peer, 2, true, "unix", 0).is_some(), "it is in the way of the next link");
        tokio::time::timeout(LINGER * 10, closed.ended.cancelled()).await.unwrap();
        assert!([false, false, true] == [(); 3].map(|()| closed.is_last_lane()), "the third lane is the last");
    }

    #[test]
    fn a_half_open_link_does_not_lock_its_peer_out() {
        let links = Links::new(identity(10), &MailboxConfig::default());
        let peer = identity(15);
        let half_open = links.claim(peer.clone(), 1, false, "tls", 0).unwrap();
        half_open.complete();
        let again = links.claim(peer.clone(), 2, false, "tls", 0).unwrap();
        assert!(half_open.ended.is_cancelled(), "its peer dialed again, so it is dead there");
        again.complete();
        assert_eq!(links.get(peer.incarnation).unwrap().link, 2);
        half_open.end("late");
        assert_eq!(links.get(peer.incarnation).unwrap().link, 2, "the end of the old one leaves the new one alone");
        assert!(links.begun(peer.incarnation, 1).is_none());
    }
}
