//! Two ends of a stream in one thread.
#![allow(clippy::unwrap_used)]

use alys_proto::Role;
use tokio::io::{DuplexStream, duplex, split};

use super::*;
use crate::mesh::room::Rooms;

/// Keeps what comes, as a mailbox does whose role is slow.
#[derive(Default)]
struct Kept(Mutex<Vec<(u64, Origin)>>);

impl Door for Arc<Kept> {
    fn requests(&self, requests: Requests<'_, '_>) {
        let mut kept = self.0.lock().unwrap();
        let before = kept.len();
        kept.extend(requests.map(|(request, origin)| (request.stamp.sequence, origin)));
        assert!(kept.len() - before <= TOGETHER, "{} came together", kept.len() - before);
    }

    fn heard(&self) {}
}

/// Of programs that know no windows.
const RELEASED: Windows = Windows { out: 512, back: 512 };

fn end_of(stream: DuplexStream) -> (Arc<Channel>, Arc<Kept>) {
    end_with(RELEASED, stream)
}

fn end_with(windows: Windows, stream: DuplexStream) -> (Arc<Channel>, Arc<Kept>) {
    let channel = Channel::new(false, windows, Arc::default(), Rooms::default().of(Role::Sync));
    let kept = Arc::<Kept>::default();
    let (running, door) = (channel.clone(), kept.clone());
    let (read, write) = split(stream);
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ended = running.read(read, &door) => {}
            _failed = running.write(write) => {}
        }
    });
    (channel, kept)
}

/// Until nothing moves any more: in one thread, everybody has had many turns.
async fn settled() {
    for _turn in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

async fn tell(sender: &Channel, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        let stamp = Stamp { sequence, ..Stamp::default() };
        sender.tell(&stamp, "Told", 3, |out| out.extend_from_slice(b"abc")).unwrap();
    }
    settled().await;
}

fn sequences(kept: &Kept) -> Vec<u64> {
    kept.0.lock().unwrap().iter().map(|(sequence, _)| *sequence).collect()
}

const ALL: u64 = 2_000;

fn window() -> u64 {
    u64::from(RELEASED.out)
}

#[tokio::test]
async fn credit_is_returned_when_messages_have_left_the_mailbox() {
    let (near, far) = duplex(1024 * 1024);
    let ((sender, _), (_receiver, kept)) = (end_of(near), end_of(far));
    tell(&sender, 0..ALL).await;
    assert_eq!(sequences(&kept), (0..window()).collect::<Vec<_>>(), "what is above the window waits at the sender");
    let gone: Vec<_> = kept.0.lock().unwrap().drain(..400).collect();
    settled().await;
    assert_eq!(kept.0.lock().unwrap().len(), 112, "they are handled, but not let go yet");
    drop(gone);
    settled().await;
    let known = sequences(&kept);
    assert!(known.len() > 112 + 350 && known.len() <= 512, "{} wait", known.len());
    while sequences(&kept).last() != Some(&(ALL - 1)) {
        kept.0.lock().unwrap().clear();
        settled().await;
    }
}

#[tokio::test]
async fn credit_is_returned_once_and_at_once_where_there_is_room() {
    let (near, far) = duplex(1024 * 1024);
    let ((sender, _), (_receiver, kept)) = (end_of(near), end_of(far));
    tell(&sender, 0..ALL).await;
    for (_, origin) in kept.0.lock().unwrap().iter().take(384) {
        let Origin::Told(credit) = origin else { unreachable!("it was told") };
        credit.settle();
    }
    settled().await;
    assert_eq!(sequences(&kept), (0..window() + 384).collect::<Vec<_>>(), "384 more than the window are kept");
    kept.0.lock().unwrap().drain(..384);
    settled().await;
    assert_eq!(kept.0.lock().unwrap().len(), 512, "credit that was returned is returned again");
}

#[tokio::test]
async fn a_lost_message_is_told_its_sender_and_an_answer_finds_its_question() {
    let (near, far) = duplex(1024 * 1024);
    let ((sender, _), (_receiver, kept)) = (end_of(near), end_of(far));
    tell(&sender, 0..3).await;
    for (_, origin) in kept.0.lock().unwrap().drain(..) {
        let Origin::Told(credit) = origin else { unreachable!("it was told") };
        credit.refuse(Refused::Busy("full".into()));
    }
    settled().await;
    assert_eq!(sender.losses.returned.load(Ordering::Relaxed), 3);
    let asking = tokio::spawn({
        let sender = sender.clone();
        async move { sender.ask(Manner::Ask, &Stamp { sequence: 9, ..Stamp::default() }, "Asked", b"x").await }
    });
    settled().await;
    let (sequence, Origin::Asked(answering)) = kept.0.lock().unwrap().pop().unwrap() else { unreachable!("it was asked") };
    assert_eq!(sequence, 9);
    answering.answer(Ok(b"y".to_vec()));
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(answer, encode_result(Ok(b"y".to_vec())));
    sender.flushed().await;
}

#[tokio::test]
async fn a_window_of_any_size_holds_and_never_stalls() {
    for (told, own) in [(1, 875), (3, 1), (875, 875), (u32::MAX, 4_096), (0, 875)] {
        let (near, far) = duplex(4 * 1024 * 1024);
        // A released program says nothing, and makes nothing of what it is told.
        let (here, there) = (Windows::new(own, told), if told == 0 { RELEASED } else { Windows::new(told, own) });
        let ((sender, _), (_receiver, kept)) = (end_with(here, near), end_with(there, far));
        let all = u64::from(here.out) * 3 + 7;
        tell(&sender, 0..all).await;
        let mut next = 0;
        while next < all {
            let taken: Vec<_> = kept.0.lock().unwrap().drain(..).collect();
            assert!(!taken.is_empty() && taken.len() <= usize::try_from(here.out).unwrap(), "{} of {told}", taken.len());
            for (sequence, _) in &taken {
                assert_eq!(*sequence, next);
                next += 1;
            }
            drop(taken);
            settled().await;
        }
    }
}
