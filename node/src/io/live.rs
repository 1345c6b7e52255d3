//! What a running node leaves in its data directory: a lock that says that it runs, and the flags it was started with,
//! so that `alys peg-out` finds the ports that `alys up --port-base` chose.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::config::Override;
use crate::failure::{Failure, OrFail as _, Outcome};

/// How often and how far apart the lock is tried.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Flags {
    /// Path, value, flag.
    set: Vec<[String; 3]>,
}

/// Takes the lock: one supervisor per data directory. The kernel releases it with the process.
pub fn take(data_dir: &Path) -> Outcome<File> {
    let path = lock_file(data_dir);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .or_configuration(format!("cannot open {}", path.display()))?;
    for _ in 0..TRIES {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        // A command that looks whether a node runs holds the lock for microseconds.
        std::thread::sleep(BETWEEN);
    }
    Err(Failure::configuration(format!("another supervisor already runs in {}", data_dir.display()))
        .help("`alys status` shows it; --data-dir and --port-base start a second node beside it"))
}

/// Leaves the flags of this start for the other commands.
pub fn record(data_dir: &Path, overrides: &[Override]) -> Outcome {
    let set = overrides.iter().map(|set| [set.path.clone(), set.text.clone(), set.flag.clone()]).collect();
    let text = toml::to_string(&Flags { set }).or_bug("flags are not TOML")?;
    let path = flags_file(data_dir);
    let unfinished = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        File::create(&unfinished)?.write_all(text.as_bytes())?;
        std::fs::rename(&unfinished, &path)
    };
    written().or_configuration(format!("cannot write {}", path.display()))
}

/// The flags of the node that runs in a data directory; none when none runs.
pub fn flags(data_dir: &Path) -> Vec<Override> {
    let runs = File::open(lock_file(data_dir)).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err());
    let text = if runs { std::fs::read_to_string(flags_file(data_dir)).unwrap_or_default() } else { String::new() };
    let read: Option<Flags> = toml::from_str(&text).ok();
    let set = read.map(|flags| flags.set).unwrap_or_default();
    set.into_iter().map(|[path, text, flag]| Override { path, text, flag: format!("{flag} of the running node") }).collect()
}

fn lock_file(data_dir: &Path) -> PathBuf {
    data_dir.join("supervisor.lock")
}

fn flags_file(data_dir: &Path) -> PathBuf {
    data_dir.join("supervisor.flags")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn flags_are_seen_while_the_node_runs_and_not_after() {
        let directory = tempfile::tempdir().unwrap();
        let given = [Override::new("engine.rpc.listen", "127.0.0.1:1", "--port-base")];
        assert_eq!(flags(directory.path()), []);
        let held = take(directory.path()).unwrap();
        record(directory.path(), &given).unwrap();
        let seen = flags(directory.path());
        assert_eq!((seen[0].path.as_str(), seen[0].flag.as_str()), ("engine.rpc.listen", "--port-base of the running node"));
        assert_eq!(take(directory.path()).unwrap_err().code, alys_cluster::exit::CONFIGURATION);
        drop(held);
        assert_eq!(flags(directory.path()), []);
    }
}
