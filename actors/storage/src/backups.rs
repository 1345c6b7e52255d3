//! Backups of the running role: one at a time, on a thread of its own, so that reads, writes and the mailbox go on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use alys_proto::Refused;
use alys_proto::storage::Backup;
use alys_proto::storage::backup::State;

use crate::core::backup::Manifest;
use crate::io::{BackupFault, Meter, Store};

/// The one that runs, or the last one.
#[derive(Debug, Default)]
pub(crate) struct Backups {
    last: Option<Last>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Last {
    folder: PathBuf,
    meter: Arc<Meter>,
    /// `None`: it runs.
    outcome: Arc<Mutex<Option<Result<String, String>>>>,
}

impl Backups {
    /// Begins one, of what is committed now.
    pub(crate) fn start(&mut self, store: &Arc<Store>, folder: PathBuf) -> Result<Backup, Refused> {
        if self.show().state() == State::Running {
            return Err(Refused::Busy("a backup is being made".into()));
        }
        store.check_backup_place(&folder).map_err(|fault| Refused::Failed(fault.text()))?;
        let last = Last { folder: folder.clone(), meter: Arc::default(), outcome: Arc::default() };
        let (store, meter, outcome) = (store.clone(), last.meter.clone(), last.outcome.clone());
        let run = move || {
            let made = store.backup(&folder, &meter).and_then(|manifest| to_json(&manifest));
            match &made {
                Ok(manifest) => tracing::info!(folder = %folder.display(), manifest, "backup made"),
                Err(fault) => tracing::warn!(folder = %folder.display(), fault = fault.text(), "no backup made"),
            }
            // The store goes first: whoever sees the end may want to close it.
            drop(store);
            *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.map_err(|fault| fault.text()));
        };
        let thread = std::thread::Builder::new().name("storage-backup".into()).spawn(run);
        self.thread = Some(thread.map_err(|cause| Refused::Failed(format!("no thread for it: {cause}")))?);
        self.last = Some(last);
        Ok(self.show())
    }

    /// How far it is.
    pub(crate) fn show(&self) -> Backup {
        let Some(last) = &self.last else { return Backup::default() };
        let outcome = last.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = match &outcome {
            None => State::Running,
            Some(Ok(_)) => State::Done,
            Some(Err(_)) => State::Failed,
        };
        let (rows, total_rows) = last.meter.rows();
        let (manifest, failure) = match outcome {
            None => (String::new(), String::new()),
            Some(Ok(manifest)) => (manifest, String::new()),
            Some(Err(failure)) => (String::new(), failure),
        };
        Backup { state: state.into(), folder: last.folder.display().to_string(), rows, total_rows, failure, manifest }
    }

    /// Stops what runs; its thread, to wait for.
    pub(crate) fn cancel(&mut self) -> Option<JoinHandle<()>> {
        if let Some(last) = &self.last {
            last.meter.cancel();
        }
        self.thread.take()
    }
}

fn to_json(manifest: &Manifest) -> Result<String, BackupFault> {
    serde_json::to_string(manifest).map_err(|cause| BackupFault::Disk(crate::Fault::Io(cause.into())))
}
