//! Room for large frames while they come in, shared by all streams of a process. Whoever may make links could begin a frame of
//! the largest size on each and end none; so only so much is taken in at once, and for so long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Smaller frames need no room: 512 links of three lanes with one of these each are 384 MiB.
const SMALL_BYTES: usize = 256 * 1024;
/// 256 MiB: ten frames of the largest size, in units of a KiB.
const ROOM_KIBIBYTES: u32 = 256 * 1024;
/// A frame is whole within this, the largest at less than a megabyte a second.
const WITHIN: Duration = Duration::from_secs(30);

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// Room for one frame.
pub(crate) struct Place<'a> {
    _taken: SemaphorePermit<'a>,
    until: Instant,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(ROOM_KIBIBYTES).unwrap_or(usize::MAX))))
    }
}

impl Room {
    /// Waits until there is room for a frame that has begun; `None`: it needs none.
    pub(crate) async fn enter(&self, length: usize) -> Option<Place<'_>> {
        if length <= SMALL_BYTES {
            return None;
        }
        let kibibytes = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX).min(ROOM_KIBIBYTES);
        // Never closed.
        let taken = self.0.acquire_many(kibibytes).await.ok()?;
        Some(Place { _taken: taken, until: Instant::now() + WITHIN })
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

    #[tokio::test]
    async fn frames_that_never_end_take_up_so_much_and_for_so_long() {
        const LARGEST: usize = 24 * 1024 * 1024;
        let room = Room::default();
        assert!(room.enter(SMALL_BYTES).await.is_none());
        let mut places = Vec::new();
        for _ in 0..10 {
            places.push(room.enter(LARGEST).await.unwrap());
        }
        assert!(room.enter(LARGEST).now_or_never().is_none(), "an eleventh was let in");
        let late = Place { until: Instant::now(), ..places.pop().unwrap() };
        let stalled = late.in_time(std::future::pending::<io::Result<()>>()).await;
        assert_eq!(stalled.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(late);
        assert!(room.enter(LARGEST).now_or_never().flatten().is_some(), "its room is free again");
    }
}
