//! What the operating system knows of this process, and whether another one still exists.

use std::os::unix::fs::MetadataExt as _;

use alys_proto::cluster::Process;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Memory and processor time of this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    pub(crate) cpu_millis: u64,
}

/// Reads `/proc/self`. Zeros where it is not mounted.
pub(crate) fn usage() -> Usage {
    let resident_bytes = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| resident(&text));
    let cpu_millis = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_millis(&text));
    Usage { resident_bytes: resident_bytes.unwrap_or(0), cpu_millis: cpu_millis.unwrap_or(0) }
}

/// Second field of `statm`: resident pages.
fn resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

/// User and system time, fields 14 and 15 of `stat`, in ticks. The name in field 2 may hold spaces, so count behind it.
fn cpu_millis(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut ticks = behind_name.split_whitespace().skip(11).map(str::parse::<u64>);
    let total = ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?;
    total.checked_mul(1_000)?.checked_div(rustix::param::clock_ticks_per_second())
}

/// Open file descriptors; 0 where `/proc` is not mounted.
pub(crate) fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(u64::MAX))
}

/// File descriptors that this process may open; 0: no limit.
pub(crate) fn max_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(0)
}

/// Threads of this process; 0 where `/proc` is not mounted.
pub(crate) fn threads() -> u64 {
    std::fs::read_dir("/proc/self/task").map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(u64::MAX))
}

/// The machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This process among all that ever ran. Empty where `/proc` is not ours: nobody can tell then whether it still exists.
pub(crate) fn own() -> Process {
    let pid = std::process::id();
    // A /proc of another pid namespace shows other processes under our numbers.
    let ours = std::fs::read_link("/proc/self").is_ok_and(|link| link.to_str() == Some(&pid.to_string()));
    let stat = if ours { Stat::read(pid) } else { None };
    let Some(stat) = stat else { return Process::default() };
    Process {
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        pid_namespace: std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino()),
        pid,
        started_ticks: stat.started_ticks,
    }
}

/// Whether a process certainly does not exist any more. Seen only from the same boot and the same pid namespace; a link
/// that closed proves nothing, a process may live on without it.
pub(crate) fn is_gone(process: &Process) -> bool {
    let own = own();
    if own.boot_id.is_empty() || own.boot_id != process.boot_id || own.pid_namespace != process.pid_namespace {
        return false;
    }
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return false };
    match (test_kill_process(pid), Stat::read(process.pid)) {
        (Err(Errno::SRCH), _) => true,
        (_, Some(stat)) => stat.started_ticks != process.started_ticks || stat.is_dead(),
        (_, None) => false,
    }
}

/// What tells processes apart, from `/proc/PID/stat`.
struct Stat {
    state: char,
    threads: u64,
    started_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields 3, 20 and 22 of proc(5).
    fn parse(stat: &str) -> Option<Self> {
        let (_, behind_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Self { state: fields.first()?.chars().next()?, threads: number(17)?, started_ticks: number(19)? })
    }

    /// A zombie without other threads: nobody has reaped it, but it runs no more.
    fn is_dead(&self) -> bool {
        self.state == 'X' || (self.state == 'Z' && self.threads <= 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        let expected = 200_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(cpu_millis(stat), Some(expected));
        assert_eq!(cpu_millis(""), None);
        assert!(usage().resident_bytes > 0, "this process has memory");
    }

    #[test]
    fn only_a_process_that_surely_ended_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is installed");
        let stat = Stat::read(child.id()).expect("it runs");
        let it = Process { pid: child.id(), started_ticks: stat.started_ticks, ..own() };
        let elsewhere = [
            Process { boot_id: "another".into(), ..it.clone() },
            Process { pid_namespace: 1, ..it.clone() },
            Process { pid: 0, ..it.clone() },
            Process::default(),
        ];
        assert!(!is_gone(&it), "it runs");
        assert!(is_gone(&Process { started_ticks: 1, ..it.clone() }), "its number is another's now");
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert!(is_gone(&it), "it was reaped");
        for process in elsewhere {
            assert!(!is_gone(&process), "{process:?} cannot be seen from here");
        }
    }

    #[test]
    fn a_zombie_is_gone_when_its_last_thread_is() {
        let stat = |state: &str, threads: u64| {
            let line = format!("7 (a b) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 {threads} 18 99 0");
            Stat::parse(&line).expect("well formed")
        };
        assert_eq!(stat("S", 4).started_ticks, 99);
        assert!(!stat("S", 4).is_dead() && !stat("Z", 3).is_dead());
        assert!(stat("Z", 1).is_dead() && stat("X", 0).is_dead());
    }
}
