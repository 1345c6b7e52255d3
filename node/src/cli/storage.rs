//! `alys storage`: check, back up and restore the database.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alys_blocks::ChainSpec;
use alys_cluster::{Cluster, exit};
use alys_proto::Refused;
use alys_proto::storage::backup::State;
use alys_proto::storage::{Backup, GetBackup, Inbox, StartBackup};
use alys_storage::{ADVICE, BackupFault, Fault, How, Manifest, Meter, Report, RestoreFault, Restored};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::Place;
use super::status::join;
use crate::config::NodeConfig;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::{self, Output, print};

const DATABASE_FILE: &str = "alys.redb";
/// How often storage is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// `alys storage`.
#[derive(Clone, Debug, Subcommand)]
pub enum Storage {
    /// Check a database that no process has open, page by page and block by block. Exit 78: it is damaged; 75: it is in use
    Check(CheckArgs),
    /// Write a consistent copy to a new folder on storage's host; the node goes on. Also of a node that does not run
    Backup(BackupArgs),
    /// Check a backup and put it in the place of the database. The node must not run
    Restore(RestoreArgs),
}

/// `alys storage check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Folder of a backup [default: the node's own database]
    pub backup: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `alys storage backup`.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// New folder
    pub folder: PathBuf,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `alys storage restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// Folder of a backup
    pub backup: PathBuf,
    /// Put a database that is there aside, under another name in its folder
    #[arg(long)]
    pub force: bool,
    /// Leave the engine's state where it is: it is of this very height
    #[arg(long)]
    pub keep_engine: bool,
    /// Let this validator vote at once. Only where nobody has anything from after the backup: a chain of one validator, or all
    /// are restored together. Otherwise it may vote a second time where it has voted
    #[arg(long)]
    pub vote_at_once: bool,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

pub(super) fn run(place: &Place, command: &Storage) -> Outcome<u8> {
    match command {
        Storage::Check(args) => check(place, args),
        Storage::Backup(args) => backup(place, args).map(|()| exit::DONE),
        Storage::Restore(args) => restore(place, args).map(|()| exit::DONE),
    }
}

fn check(place: &Place, args: &CheckArgs) -> Outcome<u8> {
    let loaded = place.load()?;
    let spec = loaded.spec()?;
    let folder = args.backup.as_ref().unwrap_or(&loaded.config.storage.data_dir);
    let path = folder.join(DATABASE_FILE);
    must_be_there(&path)?;
    let report = match &args.backup {
        Some(backup) => alys_storage::check_backup(backup, &spec, told("checked")).map_err(|fault| refused(&fault, &path))?,
        None => alys_storage::check(&path, &spec, told("checked")).map_err(|fault| failure(&fault, &path))?,
    };
    match args.output {
        Output::Json => table::json(&shown(&path, &report))?,
        Output::Table => print(&text(&path, &report)),
    }
    Ok(if report.is_whole() { exit::DONE } else { exit::CONFIGURATION })
}

fn shown(path: &Path, report: &Report) -> Value {
    json!({ "file": path, "whole": report.is_whole(), "report": report, "advice": if report.is_whole() { "" } else { ADVICE } })
}

fn text(path: &Path, report: &Report) -> String {
    let mut text = format!(
        "{}: schema {}, {} blocks, {} ledger facts, head {} {}\n",
        path.display(),
        report.schema,
        report.blocks,
        report.facts,
        report.head_height,
        report.head_hash
    );
    if report.pruned_below > 0 {
        text.push_str(&format!("blocks below {} are pruned\n", report.pruned_below));
    }
    if report.votes_lost {
        text.push_str("restored from a backup, and nothing was voted since\n");
    }
    if report.is_whole() {
        text.push_str("whole\n");
        return text;
    }
    let part = |part| serde_json::to_value(part).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    let rows: Vec<Vec<String>> = report
        .damages
        .iter()
        .map(|damage| {
            let height = if damage.height == 0 { "-".to_owned() } else { damage.height.to_string() };
            vec![part(damage.part), height, damage.text.clone()]
        })
        .collect();
    text.push_str(&format!("\n{}", table::table(&["damaged", "block", "what"], &rows)));
    if report.more > 0 {
        text.push_str(&format!("and {} more\n", report.more));
    }
    text.push_str(&format!("\n{ADVICE}\n"));
    text
}

fn backup(place: &Place, args: &BackupArgs) -> Outcome {
    let folder = std::path::absolute(&args.folder).or_configuration("the folder has no name")?;
    let runtime = super::runtime()?;
    let manifest = match runtime.block_on(join(place)) {
        Ok(cluster) => runtime.block_on(backup_running(&cluster, &folder))?,
        Err(away) if away.code == exit::TEMPORARY => backup_closed(place, &folder)?,
        Err(other) => return Err(other),
    };
    match args.output {
        Output::Json => table::json(&json!({ "folder": folder, "manifest": manifest })),
        Output::Table => {
            let Manifest { head_height, head_hash, bytes, sha256, .. } = &manifest;
            let folder = folder.display();
            print(&format!("{folder}: head {head_height} {head_hash}\n{bytes} bytes, SHA-256 {sha256}\n"));
            print(&format!(
                "it holds secrets of the node: keep it as you keep keys; `alys storage check {folder}` looks into it\n"
            ));
            Ok(())
        }
    }
}

async fn backup_running(cluster: &Cluster, folder: &Path) -> Outcome<Manifest> {
    let storage = cluster.remote::<Inbox>();
    let refused = |refused: Refused| match refused {
        passing if passing.is_passing() => Failure::temporary(format!("storage: {passing}")),
        other => Failure::usage(format!("storage: {other}")),
    };
    let mut backup = storage.ask(StartBackup { folder: folder.display().to_string() }).await.map_err(refused)?;
    let mut tell = told("copied");
    while backup.state() == State::Running {
        tokio::time::sleep(LOOK).await;
        backup = storage.ask(GetBackup {}).await.map_err(refused)?;
        tell(backup.rows, backup.total_rows);
    }
    finished(&backup, folder)
}

fn finished(backup: &Backup, folder: &Path) -> Outcome<Manifest> {
    let is_ours = Path::new(&backup.folder) == folder;
    match backup.state() {
        State::Done if is_ours => serde_json::from_str(&backup.manifest).or_bug("storage's manifest is malformed"),
        State::Failed if is_ours => Err(Failure::temporary(format!("no backup was made: {}", backup.failure))),
        _ => Err(Failure::temporary("storage was restarted and knows of no backup any more").help("start it again")),
    }
}

fn backup_closed(place: &Place, folder: &Path) -> Outcome<Manifest> {
    let loaded = place.load()?;
    let path = loaded.config.storage.data_dir.join(DATABASE_FILE);
    must_be_there(&path)?;
    let (spec, meter) = (loaded.spec()?, Meter::default());
    alys_storage::backup(&loaded.config.storage, &spec, folder, &meter).map_err(|fault| match fault {
        BackupFault::Disk(fault) => failure(&fault, &path),
        other => Failure::usage(other),
    })
}

fn restore(place: &Place, args: &RestoreArgs) -> Outcome {
    let loaded = place.load()?;
    let (config, spec) = (&loaded.config, loaded.spec()?);
    let path = config.storage.data_dir.join(DATABASE_FILE);
    let how = How { force: args.force, keep_engine: args.keep_engine, vote_at_once: args.vote_at_once };
    let restored = alys_storage::restore(&args.backup, &config.storage, &spec, how, told("checked"))
        .map_err(|fault| refused(&fault, &path))?;
    let engine = if args.keep_engine { None } else { put_aside(&config.engine.data_dir)? };
    match args.output {
        Output::Json => table::json(&json!({
            "database": restored.database, "kept": restored.kept, "engine_kept": engine, "votes_lost": !args.vote_at_once,
            "manifest": restored.manifest,
        })),
        Output::Table => {
            print(&told_of(&restored, engine.as_deref(), args, config, &spec));
            Ok(())
        }
    }
}

fn told_of(restored: &Restored, engine: Option<&Path>, args: &RestoreArgs, config: &NodeConfig, spec: &ChainSpec) -> String {
    let Manifest { head_height, head_hash, .. } = &restored.manifest;
    let mut text = format!("{}: restored, head {head_height} {head_hash}\n", restored.database.display());
    if let Some(kept) = &restored.kept {
        text.push_str(&format!("the database of before is {}\n", kept.display()));
    }
    match engine {
        Some(kept) => text.push_str(&format!(
            "the engine's state is made anew from the blocks at the next start; that of before is {}\n",
            kept.display()
        )),
        None if args.keep_engine => {}
        None => text.push_str(
            "if the engine runs on another host, remove its data folder there: its state is made anew from the blocks\n",
        ),
    }
    if config.chain.validator_key.is_some() && !args.vote_at_once {
        text.push_str(
            "this validator votes again when the others have made a block after its start: it may have voted since the backup\n",
        );
        if spec.validators.len() == 1 {
            text.push_str("it is the only one of its chain: without --vote-at-once it waits for ever\n");
        }
    }
    text
}

/// What the engine knows of later blocks must not meet a chain that does not have them.
fn put_aside(folder: &Path) -> Outcome<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let mut name = folder.as_os_str().to_owned();
    name.push(format!(".before-restore-{now}"));
    let kept = PathBuf::from(name);
    std::fs::rename(folder, &kept)
        .or_configuration(format!("the database is restored, but {} cannot be renamed", folder.display()))
        .map_err(|failure| failure.help("remove it, then start the node: the engine's state is made anew from the blocks"))?;
    Ok(Some(kept))
}

fn refused(fault: &RestoreFault, path: &Path) -> Failure {
    match fault {
        RestoreFault::Disk(fault) => failure(fault, path),
        RestoreFault::Exists(_) => {
            Failure::configuration(fault).help("--force puts it aside, under another name in its folder; nothing was changed")
        }
        RestoreFault::Checksum(_) | RestoreFault::Damaged(_) => {
            Failure::configuration(fault).help("take another backup; nothing was changed")
        }
        RestoreFault::NoBackup(..) | RestoreFault::Misfit(_) => Failure::configuration(fault).help("nothing was changed"),
    }
}

/// As the role itself would end.
fn failure(fault: &Fault, path: &Path) -> Failure {
    let ended = fault.at_start(path);
    let code = ended.exit_code();
    let help = matches!(fault, Fault::Locked).then(|| {
        "`alys drain storage` or stop the node first; a node that runs can be backed up, and the backup be checked".to_owned()
    });
    Failure { code, report: eyre::Report::new(ended), help }
}

fn must_be_there(path: &Path) -> Outcome {
    if path.exists() {
        return Ok(());
    }
    Err(Failure::configuration(format!("there is no database {}", path.display()))
        .help("name the node's folder with --data-dir; where storage has a host of its own, run this there"))
}

/// Shows how far something is, on a terminal only.
fn told(done: &'static str) -> impl FnMut(u64, u64) {
    move |reached, all| {
        let mut terminal = std::io::stderr();
        if terminal.is_terminal() {
            let end = if reached >= all { "\n" } else { "" };
            let _closed = write!(terminal, "\r{done} {reached} of {all}{end}");
        }
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
