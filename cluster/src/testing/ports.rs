//! Ports for what a test starts. They lie below those that the kernel gives to outgoing connections, and each is held for
//! this process by a lock, so neither a connection nor another test takes one between the look and the start, nor while a
//! role is being restarted.

use std::fs::{File, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Below this there are well-known services.
const FIRST: u16 = 10_000;
/// Where the kernel's own begin unless it says otherwise.
const KERNEL_FIRST: u16 = 32_768;

/// Locks of this process, until it ends.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on which nobody listens and which no other test gets.
///
/// # Errors
/// None is left, or the folder of locks cannot be written.
pub fn free_port() -> io::Result<u16> {
    free_ports(1)
}

/// The first of so many such ports in a row.
///
/// # Errors
/// There are not so many, or the folder of locks cannot be written.
pub fn free_ports(count: u16) -> io::Result<u16> {
    let range = kernel_first().saturating_sub(FIRST).saturating_sub(count).max(1);
    let start = RandomState::new().hash_one(std::process::id()).checked_rem(range.into());
    let start = start.and_then(|start| u16::try_from(start).ok()).unwrap_or(0);
    for step in 0..range {
        let offset = u32::from(start).saturating_add(step.into()).checked_rem(range.into()).unwrap_or(0);
        let first = FIRST.saturating_add(u16::try_from(offset).unwrap_or(0));
        let locks = (first..first.saturating_add(count)).map(hold).collect::<io::Result<Option<Vec<File>>>>()?;
        if let Some(locks) = locks {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).extend(locks);
            return Ok(first);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no {count} free ports in a row above {FIRST}")))
}

/// The port's lock, unless somebody has it or listens there.
fn hold(port: u16) -> io::Result<Option<File>> {
    let folder = std::env::temp_dir().join("alys-test-ports");
    std::fs::create_dir_all(&folder)?;
    let file = File::options().create(true).write(true).truncate(false).open(folder.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

fn kernel_first() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first.filter(|first| *first > FIRST).unwrap_or(KERNEL_FIRST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_is_the_kernels() {
        let given: BTreeSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(given.len(), 50);
        assert!(given.iter().all(|port| (FIRST..kernel_first()).contains(port)));
        let row = free_ports(8).unwrap();
        assert!((row..row + 8).all(|port| !given.contains(&port)));
    }
}
