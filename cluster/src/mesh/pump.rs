//! The tasks of a link: readers, writers and the heartbeat. When one of them ends, the link ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_proto::Lane;

use super::Mesh;
use super::channel::{Door, Origin};
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
        let why = tokio::select! {
            read = reading.read(read, &hall) => read.err().map_or_else(|| "closed".to_owned(), |cause| cause.to_string()),
            written = channel.write(write) => written.err().map_or_else(|| "closed".to_owned(), |cause| cause.to_string()),
            () = ended.ended.cancelled() => return,
        };
        ended.end(&why);
    });
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
    fn requests(&self, requests: Vec<(Request<'_>, Origin)>) {
        let mut for_role = Vec::with_capacity(requests.len());
        for (Request { manner, stamp, name, body }, origin) in requests {
            let header = Header::new(&self.peer.identity, stamp);
            let answer = match origin {
                Origin::Told(credit) => Answer::Told(Some(credit)),
                Origin::Asked(answering) => Answer::Asked(Box::new(move |answer| answering.answer(answer))),
            };
            let incoming = Incoming { name, header, body, answer };
            match manner {
                Manner::Inspect => self.doors.inspect(vec![incoming]),
                Manner::Tell | Manner::Ask | Manner::Post => for_role.push(incoming),
            }
        }
        self.doors.enter(for_role);
    }

    fn heard(&self) {
        self.peer.hear();
    }
}
