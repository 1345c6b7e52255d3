//! Room for large frames while they come in, shared by all streams of a process. Whoever may make links could begin a frame of
//! the largest size on each and end none; so only so much is taken in at once, and for so long. And whoever holds one role's
//! certificate may make many links, so the links of one role have only a share: the others' large frames still come in.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alys_proto::Role;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Smaller frames need no room: 512 links of three lanes with one of these each are 384 MiB.
const SMALL_BYTES: usize = 256 * 1024;
/// 256 MiB: ten frames of the largest size, in units of a KiB.
const ROOM_KIBIBYTES: usize = 256 * 1024;
/// Of it for the links of one role: two frames of the largest size.
const SHARE_KIBIBYTES: usize = ROOM_KIBIBYTES / 4;
/// A frame is whole within this, the largest at less than a megabyte a second.
const WITHIN: Duration = Duration::from_secs(30);

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    all: Arc<Semaphore>,
    /// By the role that a peer has proved, so there are as many as there are roles.
    shares: Arc<Mutex<BTreeMap<Role, Arc<Semaphore>>>>,
}

/// What the links of one role may take up.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    share: Arc<Semaphore>,
}

/// Room for one frame.
pub(crate) struct Place<'a> {
    _taken: [SemaphorePermit<'a>; 2],
    until: Instant,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ROOM_KIBIBYTES)), shares: Arc::default() }
    }
}

impl Rooms {
    /// The room of a role's links.
    pub(crate) fn of(&self, role: Role) -> Room {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(role).or_insert_with(|| Arc::new(Semaphore::new(SHARE_KIBIBYTES)));
        Room { all: self.all.clone(), share: share.clone() }
    }
}

impl Room {
    /// Waits until there is room for a frame that has begun; `None`: it needs none.
    pub(crate) async fn enter(&self, length: usize) -> Option<Place<'_>> {
        if length <= SMALL_BYTES {
            return None;
        }
        let kibibytes = u32::try_from(length.div_ceil(1024).min(SHARE_KIBIBYTES)).unwrap_or(u32::MAX);
        // Neither is ever closed. The share first: who waits for it keeps nobody else out.
        let of_share = self.share.acquire_many(kibibytes).await.ok()?;
        let of_all = self.all.acquire_many(kibibytes).await.ok()?;
        Some(Place { _taken: [of_share, of_all], until: Instant::now() + WITHIN })
    }
}

impl Place<'_> {
    /// What reads on must do so in time.
    pub(crate) async fn in_time<T>(&self, read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::time::timeout_at(self.until, read).await?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt as _;

    use super::*;

    const LARGEST: usize = 24 * 1024 * 1024;

    #[tokio::test]
    async fn the_links_of_one_role_leave_room_for_the_others() {
        let rooms = Rooms::default();
        let [first, second] = [rooms.of(Role::Sync), rooms.of(Role::Sync)];
        let _held = [first.enter(LARGEST).await, second.enter(LARGEST).await].map(Option::unwrap);
        assert!(first.enter(LARGEST).now_or_never().is_none(), "a third was let in");
        assert!(rooms.of(Role::Sync).enter(LARGEST).now_or_never().is_none(), "another link has a share of its own");
        assert!(first.enter(SMALL_BYTES).now_or_never().is_some(), "a small one waits");
        let storage = rooms.of(Role::Storage);
        assert!(storage.enter(LARGEST).now_or_never().flatten().is_some(), "another role is kept out");
    }

    #[tokio::test]
    async fn frames_that_never_end_take_up_so_much_and_for_so_long() {
        let rooms = Rooms::default();
        let all = [Role::Storage, Role::Engine, Role::Chain, Role::Bridge, Role::Sync].map(|role| rooms.of(role));
        let mut places = Vec::new();
        for room in all.iter().chain(&all) {
            places.push(room.enter(LARGEST).await.unwrap());
        }
        let network = rooms.of(Role::Network);
        assert!(network.enter(LARGEST).now_or_never().is_none(), "an eleventh was let in");
        let late = Place { until: Instant::now(), ..places.pop().unwrap() };
        let stalled = late.in_time(std::future::pending::<io::Result<()>>()).await;
        assert_eq!(stalled.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(late);
        assert!(network.enter(LARGEST).now_or_never().flatten().is_some(), "its room is free again");
    }
}
