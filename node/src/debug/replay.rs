//! `alys debug replay`: a recording against a role, offline. The role is the real one, in processes of its own: its
//! mailbox, its executor and the roles it depends on, on a folder that is nobody else's.
//!
//! | of the node that is configured | in the replay |
//! |---|---|
//! | databases | those in the folder: a copy, or empty ones |
//! | mesh, cookie, sockets | its own, so nothing reaches the node |
//! | Bitcoin | nowhere, unless `--set bridge.bitcoind.url=…` says so |
//! | addresses | free ports of this host, no peers |
//! | keys, chain specification | the same files |
//!
//! What is replayed is one mailbox: what the role asks of roles that it does not depend on is refused as unreachable, and its
//! own timers run as they do. So the answers of storage and engine are those of the original as long as the folder is; chain
//! and bridge also act on what the recording does not hold.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use alys_cluster::recording::{Recording, Replayed};
use alys_proto::Role;
use alys_proto::role::ROLES;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{args, units};
use crate::cli::args::Place;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::{self, Output, print};

/// How long a helper may take to end before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(place: &Place, args: &args::Replay) -> Outcome {
    let (header, messages) = Recording::read(&args.file).or_configuration(format!("{}", args.file.display()))?;
    let role = match args.role {
        Some(role) => role,
        None => header.role.parse::<Role>().or_configuration(format!("{}", args.file.display()))?,
    };
    if role == Role::Supervisor {
        return Err(Failure::usage("supervisor starts other processes and is not replayed"));
    }
    let settings = settings(place, &args.folder)?;
    let file = std::path::absolute(place.file(false)).or_configuration("there is no current directory")?;
    let recording = std::path::absolute(&args.file).or_configuration("there is no current directory")?;
    let mut helpers = Vec::new();
    for helper in needed(role) {
        helpers.push(start(helper, &file, &settings, &args.folder, None)?);
    }
    let mut replaying = start(role, &file, &settings, &args.folder, Some(&recording))?;
    eprintln!("replaying {} messages of {} in {}", messages.len(), header.instance, args.folder.display());
    let mut answers = Vec::new();
    if let Some(output) = replaying.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.or_temporary("the replayed role")? {
            let replayed: Replayed = serde_json::from_str(&line).or_bug("the replayed role says something else")?;
            if args.output == Output::Table {
                print(&format!("{}\n", text(&replayed)));
            }
            answers.push(replayed);
        }
    }
    let ended = replaying.wait().await.or_temporary("the replayed role")?;
    for helper in helpers {
        end(helper).await;
    }
    if args.output == Output::Json {
        table::json(&answers)?;
    }
    let log = args.folder.join("logs").join(format!("{role}.log"));
    if answers.len() < messages.len() {
        let message = format!("{role} ended with {ended} behind message {} of {}", answers.len(), messages.len());
        return Err(Failure::temporary(message).help(format!("its log is {}", log.display())));
    }
    let refused = answers.iter().filter(|answer| answer.refused.is_some()).count();
    eprintln!("{} messages, {refused} refused; the log is {}", answers.len(), log.display());
    Ok(())
}

/// What must run before a role, in start order.
fn needed(role: Role) -> Vec<Role> {
    let mut needed: Vec<Role> = role.depends_on().to_vec();
    let mut next = 0;
    while let Some(one) = needed.get(next).copied() {
        for other in one.depends_on() {
            if !needed.contains(other) {
                needed.push(*other);
            }
        }
        next = next.saturating_add(1);
    }
    ROLES.into_iter().filter(|role| needed.contains(role)).collect()
}

/// What differs from the node's own configuration.
fn settings(place: &Place, folder: &Path) -> Outcome<Vec<(String, String)>> {
    let loaded = place.load()?;
    let folder = std::path::absolute(folder).or_configuration("there is no current directory")?;
    if folder == loaded.config.data_dir {
        return Err(Failure::usage(format!("{} is the node's own folder", folder.display()))
            .help("stop the node and copy what the role needs, or name a new folder"));
    }
    let doing = format!("cannot prepare {}", folder.display());
    crate::prepare::files::folder(&folder)?;
    crate::prepare::files::folder(&folder.join("logs"))?;
    let cookie = hex::encode(rand::random::<[u8; 32]>());
    crate::prepare::files::secret(&folder.join("cookie"), format!("{cookie}\n"))?;
    let run = folder.join("run");
    // Left by a replay that was killed: its sockets would be dialled.
    match std::fs::remove_dir_all(&run) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause).or_configuration(doing),
        _ => {}
    }
    let path = |name: &str| folder.join(name).display().to_string();
    let mut set = vec![
        ("cluster.id".to_owned(), "replay".to_owned()),
        ("cluster.run_dir".to_owned(), path("run")),
        ("cluster.cookie_file".to_owned(), path("cookie")),
        ("cluster.debug.audit_file".to_owned(), path("audit.log")),
        ("storage.data_dir".to_owned(), path("storage")),
        ("engine.data_dir".to_owned(), path("engine")),
        ("network.data_dir".to_owned(), path("network")),
        ("engine.rpc.listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("stream.listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("network.listen".to_owned(), "[\"/ip4/127.0.0.1/tcp/0\"]".to_owned()),
        ("network.bootnodes".to_owned(), "[]".to_owned()),
        // Port 9 is the discard service: nobody answers there.
        ("bridge.bitcoind.url".to_owned(), "http://127.0.0.1:9".to_owned()),
    ];
    set.extend(place.set.iter().cloned());
    Ok(set)
}

fn start(role: Role, file: &Path, settings: &[(String, String)], folder: &Path, recording: Option<&PathBuf>) -> Outcome<Child> {
    let program = std::env::current_exe().or_bug("this program's own path is unknown")?;
    let path = folder.join("logs").join(format!("{role}.log"));
    let log = std::fs::File::create(&path).or_configuration(format!("cannot write {}", path.display()))?;
    let mut command = Command::new(program);
    command.args(["role", role.name(), "--lifeline", "--config"]).arg(file);
    for (key, value) in settings {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    if let Some(recording) = recording {
        command.arg("--replay").arg(recording).stdout(Stdio::piped());
    } else {
        command.stdout(Stdio::null());
    }
    command.stdin(Stdio::piped()).stderr(log).kill_on_drop(true);
    command.spawn().or_temporary(format!("cannot start {role}"))
}

/// A helper ends when its lifeline is cut.
async fn end(mut helper: Child) {
    drop(helper.stdin.take());
    // What does not end is killed when it is dropped.
    let _ended = tokio::time::timeout(END_PATIENCE, helper.wait()).await;
}

fn text(replayed: &Replayed) -> String {
    let outcome = match (&replayed.refused, replayed.told) {
        (Some(reason), _) => format!("refused: {reason}"),
        (None, true) => "told".to_owned(),
        (None, false) => format!("answered with {} bytes in {}", replayed.reply_bytes, units::micros(replayed.took_micros)),
    };
    format!("{:>6}  {:<28} from {:<10} {outcome}", replayed.number, replayed.name, replayed.sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_runs_with_what_it_depends_on() {
        assert_eq!(needed(Role::Storage), []);
        assert_eq!(needed(Role::Engine), [Role::Storage]);
        assert_eq!(needed(Role::Bridge), [Role::Storage, Role::Engine, Role::Chain]);
    }
}
