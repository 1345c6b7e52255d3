//! No role outlives its parent: the child's half.
//!
//! The supervisor holds the write end of every child's stdin and never writes. When it dies, however it dies, the
//! kernel closes that end and the child reads the end of file on a thread of its own (a busy runtime cannot delay it):
//! it asks itself to drain and, if that takes too long, ends.

use std::io::Read;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};

use crate::core::exit;

/// A drain after the parent's death has so long.
const GRACE: Duration = Duration::from_secs(5);

/// Arms the lifeline on stdin. Call first thing in a process that was started with `--lifeline`.
///
/// # Errors
/// The thread could not be started.
pub fn arm() -> std::io::Result<()> {
    // Second line, and quicker when it works: it fires when the parent's *thread* that started us ends.
    if let Err(cause) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::debug!(%cause, "no parent death signal; the pipe alone watches the parent");
    }
    std::thread::Builder::new().name("lifeline".into()).spawn(watch).map(drop)
}

fn watch() {
    let mut stdin = std::io::stdin().lock();
    let mut ignored = [0u8; 64];
    loop {
        match stdin.read(&mut ignored) {
            Ok(0) => break,
            Ok(_) => {}
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Nobody may be left to read what we print, so nothing is printed here.
    let _ = kill_process(getpid(), Signal::TERM);
    std::thread::sleep(GRACE);
    std::process::exit(i32::from(exit::TEMPORARY));
}
