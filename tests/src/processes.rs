//! The processes of a cluster as the operating system sees them, read from `/proc`.

use std::collections::BTreeSet;
use std::path::Path;

use eyre::{OptionExt as _, WrapErr as _};
use rustix::process::{Pid, Signal, kill_process};

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Its command line.
    pub arguments: Vec<String>,
}

impl Process {
    /// Whether its command line holds these words one after the other.
    pub fn runs(&self, words: &[&str]) -> bool {
        self.arguments.windows(words.len()).any(|window| window == words)
    }
}

impl Process {
    /// Ports of 127.0.0.1 on which it accepts TCP connections.
    pub fn listening_ports(&self) -> eyre::Result<Vec<u16>> {
        let mut sockets = BTreeSet::new();
        for entry in std::fs::read_dir(format!("/proc/{}/fd", self.pid))? {
            // A descriptor may be closed while we look.
            let target = entry.and_then(|entry| std::fs::read_link(entry.path())).unwrap_or_default();
            let inode = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
            sockets.extend(inode);
        }
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.pid))?;
        Ok(table.lines().filter_map(|line| listening(line, &sockets)).collect())
    }
}

/// The local port of a line of `/proc/net/tcp` (proc(5)) that is a listening socket of ours.
fn listening(line: &str, ours: &BTreeSet<u64>) -> Option<u16> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?.parse().ok()?);
    let (_, port) = local.split_once(':')?;
    if *state == LISTEN && ours.contains(&inode) { u16::from_str_radix(port, 16).ok() } else { None }
}

/// Whether a process has let go of files and ports: it is gone, or only waits for its parent to ask how it ended. Its command
/// line goes earlier.
pub fn has_closed_its_files(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // proc(5): the state follows the name, which is in brackets and may hold any character.
    let has_ended = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']));
    // The first thread may be done while another still holds the files of all.
    has_ended && std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) <= 1
}

/// Every live process whose command line names this data directory, oldest pid first.
pub fn of(data_dir: &Path) -> eyre::Result<Vec<Process>> {
    let own = data_dir.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while we look; a zombie has no command line.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        if arguments.iter().any(|argument| argument.contains(&own)) {
            found.push(Process { pid, arguments });
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) -> eyre::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_eyre("not a process id")?;
    kill_process(pid, signal).wrap_err_with(|| format!("signal to process {pid:?}"))
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, behind_name)| !behind_name.trim_start().starts_with('Z'))
}
