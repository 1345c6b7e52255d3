//! The last log lines of this process, in memory: a debug node reads them on any host, also where the log goes to a journal
//! or a collector.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use alys_proto::cluster::{LogLine, LogLines, LogTail};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept.
const MOST_LINES: usize = 2_000;
/// Bytes of them that are kept.
const MOST_BYTES: usize = 1024 * 1024;
/// Lines that one answer brings.
const MOST_ANSWERED: usize = 1_000;

/// Of this process: its subscriber is one, too.
static KEPT: Mutex<Kept> = Mutex::new(Kept::new());

struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    /// Number of the newest line, counted from 1.
    newest: u64,
}

impl Kept {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, newest: 0 }
    }

    fn push(&mut self, line: &str) {
        self.lines.push_back(line.to_owned());
        self.bytes = self.bytes.saturating_add(line.len());
        self.newest = self.newest.saturating_add(1);
        while self.lines.len() > MOST_LINES || (self.bytes > MOST_BYTES && self.lines.len() > 1) {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }

    /// The last lines of those asked for, oldest first.
    fn tail(&self, asked: &LogTail) -> LogLines {
        let limit = usize::try_from(asked.limit).unwrap_or(MOST_ANSWERED).min(MOST_ANSWERED);
        let mut lines: Vec<LogLine> = (1..=self.newest)
            .rev()
            .zip(self.lines.iter().rev())
            .filter(|(number, text)| *number > asked.after && text.contains(&asked.contains))
            .take(if limit == 0 { MOST_ANSWERED } else { limit })
            .map(|(number, text)| LogLine { number, text: text.clone() })
            .collect();
        lines.reverse();
        LogLines { lines }
    }
}

/// The last lines of this process.
pub(crate) fn tail(asked: &LogTail) -> LogLines {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).tail(asked)
}

/// Standard error, and a copy of each line for [`tail`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl<'writer> MakeWriter<'writer> for Stderr {
    type Writer = Self;

    fn make_writer(&'writer self) -> Self {
        *self
    }
}

impl Write for Stderr {
    /// The subscriber writes a line at a time.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        text.lines().for_each(|line| kept.push(line));
        drop(kept);
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(kept: &Kept, asked: LogTail) -> Vec<u64> {
        kept.tail(&asked).lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn the_last_lines_are_kept_and_found() {
        let mut kept = Kept::new();
        for number in 1..=MOST_LINES + 10 {
            kept.push(&format!("line {number}"));
        }
        assert_eq!(kept.lines.len(), MOST_LINES);
        assert_eq!(numbers(&kept, LogTail { limit: 2, ..LogTail::default() }), [2009, 2010]);
        assert_eq!(numbers(&kept, LogTail { after: 2008, ..LogTail::default() }), [2009, 2010]);
        assert_eq!(numbers(&kept, LogTail { contains: "line 2000".into(), ..LogTail::default() }), [2000]);
        assert!(numbers(&kept, LogTail { contains: "line 7 ".into(), ..LogTail::default() }).is_empty(), "long gone");
        kept.push(&"x".repeat(2 * MOST_BYTES));
        assert_eq!(kept.lines.len(), 1, "bytes are bounded too");
    }
}
