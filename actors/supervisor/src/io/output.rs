//! What children print: appended to a file that is bounded, the last lines kept for people, forwarded when asked.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Lines kept in memory, to say why a child failed.
const KEPT: usize = 8;
/// A line longer than this is cut in memory and on the terminal (8 lines: 16 KiB a child); the file has it whole.
const LONGEST: usize = 2_000;
/// A line longer than this is written in pieces, so that a child cannot make us buffer without end.
const BUFFER: u64 = 64 * 1024;

/// The output of one instance, across its restarts.
#[derive(Clone, Debug)]
pub struct Output {
    name: Arc<str>,
    verbose: bool,
    sink: Arc<Mutex<Sink>>,
}

#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: File,
    written: u64,
    limit: u64,
    last: VecDeque<String>,
    lost: u64,
}

impl Output {
    /// Opens `<directory>/<name>.log` for appending.
    ///
    /// # Errors
    /// The directory or the file cannot be made or written.
    pub fn open(directory: &Path, name: &str, limit: u64, verbose: bool) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{name}.log"));
        let file = append(&path)?;
        let written = file.metadata()?.len();
        let sink = Sink { path, file, written, limit, last: VecDeque::new(), lost: 0 };
        Ok(Self { name: name.into(), verbose, sink: Arc::new(Mutex::new(sink)) })
    }

    /// Copies until the stream ends. A full disk loses lines (counted), never the child.
    pub async fn pump(self, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut piece = tokio::io::AsyncReadExt::take(&mut reader, BUFFER);
            match piece.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.line(&line),
            }
        }
    }

    /// The last lines, oldest first.
    pub fn last(&self) -> Vec<String> {
        self.lock().last.iter().cloned().collect()
    }

    /// The file itself, for a child that may outlive us and so writes to it without us.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn file(&self) -> std::io::Result<File> {
        append(&self.lock().path)
    }

    /// The last lines in the file, oldest first.
    pub fn tail(&self) -> Vec<String> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.lock().path)?;
            let from = file.metadata()?.len().saturating_sub(BUFFER);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(BUFFER).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text.lines().map(|line| line.chars().take(LONGEST).collect()).collect();
        lines.iter().skip(lines.len().saturating_sub(KEPT)).cloned().collect()
    }

    /// Copies an overlong file away and empties it: its writer holds it open and appends. What is written between the two
    /// steps is lost.
    pub fn trim(&self) {
        let sink = self.lock();
        let trimmed = || -> std::io::Result<()> {
            if std::fs::metadata(&sink.path)?.len() > sink.limit {
                std::fs::copy(&sink.path, sink.path.with_extension("log.1"))?;
                OpenOptions::new().write(true).open(&sink.path)?.set_len(0)?;
            }
            Ok(())
        };
        if let Err(cause) = trimmed() {
            tracing::warn!(path = %sink.path.display(), %cause, "cannot trim a log");
        }
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn line(&self, bytes: &[u8]) {
        let shown: String = String::from_utf8_lossy(bytes).trim_end().chars().take(LONGEST).collect();
        if self.verbose {
            // A closed terminal is no reason to stop.
            let _ = writeln!(std::io::stdout(), "{:>12} | {shown}", self.name);
        }
        let mut sink = self.lock();
        if sink.write(bytes).is_err() {
            sink.lost = sink.lost.saturating_add(1);
        }
        if sink.last.len() == KEPT {
            sink.last.pop_front();
        }
        sink.last.push_back(shown);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.written >= self.limit {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.file = append(&self.path)?;
            self.written = 0;
        }
        self.file.write_all(bytes)?;
        self.written = self.written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn lines_are_kept_and_the_file_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let output = Output::open(directory.path(), "storage", 20, false).unwrap();
        output.clone().pump(&b"one line of text\nsecond line\nthird\n"[..]).await;
        assert_eq!(output.last(), ["one line of text", "second line", "third"]);
        let now = std::fs::read_to_string(directory.path().join("storage.log")).unwrap();
        let before = std::fs::read_to_string(directory.path().join("storage.log.1")).unwrap();
        assert_eq!((before.as_str(), now.as_str()), ("one line of text\nsecond line\n", "third\n"));
        assert_eq!(output.lost(), 0);
    }

    #[test]
    fn a_file_that_others_write_is_read_from_its_end_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let output = Output::open(directory.path(), "storage", 100, false).unwrap();
        let mut written = output.file().unwrap();
        for number in 0..20 {
            writeln!(written, "line {number}").unwrap();
        }
        assert_eq!(output.tail().last().unwrap(), "line 19");
        assert_eq!(output.tail().len(), KEPT);
        output.trim();
        writeln!(written, "after").unwrap();
        assert_eq!(output.tail(), ["after"], "its writer goes on at the beginning");
        assert!(std::fs::read_to_string(directory.path().join("storage.log.1")).unwrap().contains("line 0\n"));
    }

    #[tokio::test]
    async fn a_line_without_end_does_not_fill_memory() {
        let directory = tempfile::tempdir().unwrap();
        let output = Output::open(directory.path(), "x", u64::MAX, false).unwrap();
        let endless = vec![b'a'; 300_000];
        output.clone().pump(endless.as_slice()).await;
        assert_eq!(std::fs::metadata(directory.path().join("x.log")).unwrap().len(), 300_000);
        assert!(output.last().iter().all(|line| line.len() <= LONGEST));
    }
}
