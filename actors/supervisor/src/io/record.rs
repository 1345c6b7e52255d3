//! Which processes this supervisor has started, for the next one: it may be killed at any moment, and they run on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::birth::{self, Birth};

/// The file and what is in it.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    started: BTreeMap<String, Birth>,
}

impl Record {
    /// What a supervisor before us left; empty when it ended in order, or was never there.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let started = match std::fs::read(path) {
            // It is written whole and moved into place, so what does not parse was not written by us.
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(cause) => return Err(cause),
        };
        Ok(Self { path: path.to_owned(), started })
    }

    /// Instances and their processes.
    pub fn started(&self) -> impl Iterator<Item = (&String, &Birth)> {
        self.started.iter()
    }

    /// Takes note of a process.
    pub fn add(&mut self, name: &str, pid: u32) {
        if let Some(birth) = birth::of(pid) {
            self.started.insert(name.to_owned(), birth);
            self.write();
        }
    }

    /// A process is gone.
    pub fn remove(&mut self, name: &str, pid: u32) {
        if self.started.get(name).is_some_and(|birth| birth.pid == pid) {
            self.started.remove(name);
            self.write();
        }
    }

    /// Not synced: after a crash of the machine none of these processes lives.
    fn write(&self) {
        let unfinished = self.path.with_extension("new");
        let written = serde_json::to_vec(&self.started)
            .map_err(std::io::Error::from)
            .and_then(|bytes| std::fs::write(&unfinished, bytes))
            .and_then(|()| std::fs::rename(&unfinished, &self.path));
        if let Err(cause) = written {
            // The next supervisor finds them in the mesh.
            tracing::warn!(path = %self.path.display(), %cause, "cannot note which processes were started");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_next_supervisor_reads_what_this_one_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("supervisor.children");
        let mut record = Record::open(&path).unwrap();
        record.add("storage", std::process::id());
        record.add("nobody", u32::MAX);
        let next = Record::open(&path).unwrap();
        let names: Vec<&str> = next.started().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["storage"]);
        record.remove("storage", 1);
        assert_eq!(Record::open(&path).unwrap().started().count(), 1, "another process's end");
        record.remove("storage", std::process::id());
        assert_eq!(Record::open(&path).unwrap().started().count(), 0);
    }
}
