//! The tasks of a link: readers, writers and the heartbeat. When one of them ends, the link ends.
//!
//! | a stream | the link |
//! |---|---|
//! | the peer closed it, or takes nothing more on it | is closed: no new messages, what is on its way on all streams is still taken |
//! | the last lane is read to its end | ends |
//! | brings what is no frame, or a large one too slowly | ends at once |
//!
//! A process that has drained closes all streams at once, behind its last answers, and they are seen in any order.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_proto::Lane;

use super::Mesh;
use super::channel::{Door, Origin, Requests};
use super::frame::{Manner, Request, encode_ping};
use super::hello::Stream;
use super::link::Peer;
use super::pulse;
use crate::header::Header;
use crate::port::{Answer, Doors, Incoming};

/// Moves frames between a connected stream and the link's channel of that lane.
pub(super) fn run<S: Stream>(mesh: &Mesh, peer: &Arc<Peer>, lane: Lane, stream: S) {
    let (read, write) = tokio::io::split(stream);
    let channel = peer.channel(lane).clone();
    let hall = Hall { doors: mesh.doors.clone(), peer: peer.clone() };
    let (reading, ended) = (channel.clone(), peer.clone());
    tokio::spawn(async move {
        let moved = async {
            let mut read = std::pin::pin!(reading.read(read, &hall));
            tokio::select! {
                // The reader first: the writer then finds what it has queued.
                biased;
                read = &mut read => read,
                Err(cause) = channel.write(write) => {
                    ended.close(&cause.to_string());
                    read.await
                }
            }
        };
        tokio::select! {
            moved = moved => lane_ended(&ended, moved),
            () = ended.ended.cancelled() => {}
        }
    });
}

fn lane_ended(peer: &Arc<Peer>, moved: io::Result<()>) {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match moved {
        Err(cause) if !matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) => {
            peer.end(&cause.to_string());
        }
        Ok(()) | Err(_) if peer.is_last_lane() => peer.end("closed"),
        Ok(()) | Err(_) => peer.close("closed"),
    }
}

/// A link whose last stream has not come by then is none.
const COMPLETE_WITHIN: Duration = Duration::from_secs(10);

/// Sends heartbeats and ends the link when none come.
pub(super) fn beat(peer: &Arc<Peer>) {
    let peer = peer.clone();
    tokio::spawn(async move {
        let mut due = tokio::time::interval(pulse::EVERY);
        let mut look_out = tokio::time::interval(pulse::LOOK_OUT);
        for timer in [&mut due, &mut look_out] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let ping = encode_ping();
        let began = Instant::now();
        loop {
            tokio::select! {
                _ = due.tick() => peer.channel(Lane::Control).at_once(&ping),
                _ = look_out.tick() => if peer.is_gone() {
                    tracing::warn!(peer = %peer.identity.instance, "unreachable: not heard of for too long");
                    peer.end("unreachable");
                    return;
                } else if !peer.is_open() && began.elapsed() > COMPLETE_WITHIN {
                    peer.end("not completed");
                    return;
                },
                () = peer.ended.cancelled() => return,
            }
        }
    });
}

/// Where requests of one peer enter this process.
struct Hall {
    doors: Arc<Doors>,
    peer: Arc<Peer>,
}

impl Door for Hall {
    fn requests(&self, requests: Requests<'_, '_>) {
        let mut for_role = requests.filter_map(|(Request { manner, stamp, name, body }, origin)| {
            let header = Header::new(&self.peer.identity, stamp);
            let answer = match origin {
                Origin::Told(credit) => Answer::Told(Some(credit)),
                Origin::Asked(answering) => Answer::Asked(Box::new(move |answer| answering.answer(answer))),
            };
            let incoming = Incoming { name, header, body, answer };
            match manner {
                Manner::Inspect => {
                    self.doors.inspect(&mut std::iter::once(incoming));
                    None
                }
                Manner::Tell | Manner::Ask | Manner::Post => Some(incoming),
            }
        });
        self.doors.enter(&mut for_role);
    }

    fn heard(&self) {
        self.peer.hear();
    }
}
