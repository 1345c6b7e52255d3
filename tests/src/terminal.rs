//! A terminal in memory for programs that draw on one: a pseudo-terminal whose other end the test holds.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use eyre::WrapErr as _;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program on a terminal. Killed by its pid when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program on a terminal of this size.
    pub fn start(mut command: Command, columns: u16, lines: u16) -> eyre::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let theirs = File::options().read(true).write(true).open(name.to_str()?)?;
        tcsetwinsize(&theirs, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()
            .wrap_err("cannot start the program on a terminal")?;
        let keyboard = File::from(ours);
        let (mut screen, drawn) = (keyboard.try_clone()?, Arc::new(Mutex::new(Vec::new())));
        let kept = drawn.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error when the last program on the terminal is gone.
            while let Ok(count) = screen.read(&mut bytes) {
                let Some(new) = bytes.get(..count).filter(|new| !new.is_empty()) else { return };
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(new);
            }
        });
        Ok(Self { child, keyboard, drawn })
    }

    /// Types.
    pub fn press(&mut self, keys: &str) -> eyre::Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Everything that was drawn, with the terminal's control sequences.
    pub fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Whether it ended, and how.
    pub fn ended(&mut self) -> eyre::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
