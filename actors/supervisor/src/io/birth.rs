//! Which process a pid means. Numbers are used again; number, start and boot together are not.

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// One process, told apart from every other one that ever had its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot (proc(5), `stat`, field 22).
    pub ticks: u64,
    /// Which boot.
    pub boot: String,
}

/// The process that has a number now; `None` when there is none, or only a zombie.
pub fn of(pid: u32) -> Option<Birth> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
    Some(Birth { pid, ticks: ticks(&stat)?, boot })
}

/// Field 22 behind the name, which may hold spaces; the state is the first field there.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A handle on exactly this process, if it still lives.
pub fn open(birth: &Birth) -> Option<std::os::fd::OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(birth.pid).ok()?)?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    // Opened first and looked at then: if the number is still its own, the handle is too.
    (of(birth.pid).as_ref() == Some(birth)).then_some(handle)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_number_alone_is_not_trusted() {
        let own = of(std::process::id()).unwrap();
        assert!(open(&own).is_some());
        assert!(open(&Birth { ticks: own.ticks + 1, ..own.clone() }).is_none(), "another process under the number");
        assert!(open(&Birth { boot: "another".into(), ..own }).is_none(), "another boot");
        assert_eq!(ticks("7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1234 20"), Some(1234));
        assert_eq!(ticks("7 (x) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1234 20"), None);
    }
}
