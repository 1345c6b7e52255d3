//! What joins the hosts of a lab: an Ethernet switch in the test's own process, so that every fault of a network can be had
//! wherever root may open `/dev/net/tun`. Kernels without netem, packet filters or packet queues do.
//!
//! | fault | weather of a direction |
//! |---|---|
//! | black hole | no frame arrives, in both directions |
//! | one-way loss | no frame arrives, in one |
//! | bad line | some frames are lost, the others are late, each by its own time, so that they also overtake each other |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use eyre::{OptionExt as _, WrapErr as _};
use tokio::sync::Semaphore;
use tokio_tun::Tun;

use super::run;

/// A frame of the usual 1,500 bytes, its header, and a VLAN tag that nobody sends.
const LARGEST_FRAME: usize = 1_518;
/// Frames that may be on their way at once, 15 MB: what comes on top is lost, as in any switch.
const MOST_UNDER_WAY: usize = 10_000;
/// Addresses end with the number of the port: the first is the test's.
const MAC: [u8; 5] = [2, 0, 0, 0, 0];

/// What happens to the frames of one direction. As it is made: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// Which part is lost, up to 1.
    pub lost: f64,
    /// A frame is late by so much at the most, evenly spread.
    pub late: Duration,
}

impl Weather {
    /// Nothing arrives.
    pub const BLACK_HOLE: Self = Self { lost: 1.0, late: Duration::ZERO };
}

/// By number of the sender's port and of the receiver's.
type Rules = Arc<Mutex<BTreeMap<(u8, u8), Weather>>>;

/// The running switch. Its hosts are cut off when it is dropped.
pub(super) struct Switch {
    rules: Rules,
    _stops: tokio::sync::oneshot::Sender<()>,
}

impl Switch {
    /// Gives each namespace a device `eth0` with an address; the first is the one that the caller is in.
    pub(super) fn plug(hosts: Vec<(String, String)>) -> eyre::Result<Self> {
        let rules = Rules::default();
        let (stops, stopped) = tokio::sync::oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let theirs = rules.clone();
        std::thread::Builder::new().name("switch".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let made = runtime.wrap_err("the switch's runtime").and_then(|runtime| {
                let ports = runtime.block_on(async { ports(&hosts) })?;
                Ok((runtime, ports))
            });
            match made {
                Ok((runtime, ports)) => {
                    let _waits = tell.send(Ok(()));
                    runtime.block_on(async {
                        carry(&ports, &theirs);
                        // Dropped by who dropped the switch.
                        let _ended = stopped.await;
                    });
                }
                Err(cause) => drop(tell.send(Err(cause))),
            }
        })?;
        told.recv().wrap_err("the switch's thread ended")??;
        Ok(Self { rules, _stops: stops })
    }

    /// Changes the weather of one direction.
    pub(super) fn set(&self, from: u8, to: u8, weather: Weather) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).insert((from, to), weather);
    }

    /// Fine weather everywhere.
    pub(super) fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A device in each namespace.
fn ports(hosts: &[(String, String)]) -> eyre::Result<Vec<Arc<Tun>>> {
    let mut ports = Vec::new();
    for (number, (namespace, address)) in (1_u8..).zip(hosts) {
        let name = format!("port{number}");
        let built = Tun::builder().name(&name).tap().close_on_exec().build();
        let tap = built.wrap_err("cannot open /dev/net/tun")?.pop().ok_or_eyre("no device")?;
        run("ip", &["link", "set", &name, "netns", namespace, "name", "eth0"])?;
        let mac = MAC.iter().chain([&number]).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
        run("ip", &["-n", namespace, "link", "set", "eth0", "address", &mac])?;
        run("ip", &["-n", namespace, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        run("ip", &["-n", namespace, "link", "set", "eth0", "up"])?;
        ports.push(Arc::new(tap));
    }
    Ok(ports)
}

/// Starts a task for each port.
fn carry(ports: &[Arc<Tun>], rules: &Rules) {
    let room = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let chance = Arc::new(Chance(AtomicU64::new(0x9e37_79b9_7f4a_7c15)));
    for (from, port) in (1_u8..).zip(ports) {
        let (port, ports) = (port.clone(), ports.to_vec());
        let (rules, room, chance) = (rules.clone(), room.clone(), chance.clone());
        tokio::spawn(async move {
            let mut buffer = [0; LARGEST_FRAME];
            loop {
                let Ok(length) = port.recv(&mut buffer).await else { return };
                let Some(frame) = buffer.get(..length) else { continue };
                for (to, target) in (1_u8..).zip(&ports) {
                    if to == from || !is_for(frame, to) {
                        continue;
                    }
                    let rule = rules.lock().unwrap_or_else(PoisonError::into_inner).get(&(from, to)).copied();
                    let weather = rule.unwrap_or_default();
                    if chance.next() < weather.lost {
                        continue;
                    }
                    let late = weather.late.mul_f64(chance.next());
                    deliver(target, frame, late, &room).await;
                }
            }
        });
    }
}

async fn deliver(target: &Arc<Tun>, frame: &[u8], late: Duration, room: &Arc<Semaphore>) {
    if late.is_zero() {
        // A host that is not up yet or any more.
        let _not_taken = target.send(frame).await;
        return;
    }
    let Ok(permit) = room.clone().try_acquire_owned() else { return };
    let (target, frame) = (target.clone(), frame.to_vec());
    tokio::spawn(async move {
        let _under_way = permit;
        tokio::time::sleep(late).await;
        let _not_taken = target.send(&frame).await;
    });
}

/// Whether a frame goes to a port: its own address is on it, or that of many.
fn is_for(frame: &[u8], port: u8) -> bool {
    match frame.split_first_chunk::<6>() {
        Some(([first, ..], _)) if first & 1 == 1 => true,
        Some((address, _)) => address.ends_with(&[port]) && address.starts_with(&MAC),
        None => false,
    }
}

/// The same numbers in every run, from 0 up to 1 (xorshift64).
struct Chance(AtomicU64);

impl Chance {
    fn next(&self) -> f64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.store(state, Ordering::Relaxed);
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX).next_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_find_their_port() {
        let frame = |to: [u8; 6]| [to.as_slice(), &[0; 60]].concat();
        assert!(is_for(&frame([2, 0, 0, 0, 0, 3]), 3) && !is_for(&frame([2, 0, 0, 0, 0, 3]), 4));
        assert!(is_for(&frame([255; 6]), 3), "broadcast");
        assert!(!is_for(&[2, 0], 3), "no frame at all");
    }

    #[test]
    fn a_part_is_lost_and_no_more() {
        let chance = Chance(AtomicU64::new(1));
        let lost = (0..100_000).filter(|_| chance.next() < 0.01).count();
        assert!((800..1_200).contains(&lost), "{lost} of 100,000");
        assert!(!(0..100_000).any(|_| chance.next() >= 1.0), "all means all");
    }
}
