//! What the operating system knows of this process.

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
}
