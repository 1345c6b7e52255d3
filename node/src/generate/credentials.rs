//! Which secrets each role gets, and no more: one folder a role, handed in by systemd (`LoadCredential=`) or Kubernetes (a
//! Secret as files). `alys.toml` finds them under `$CREDENTIALS_DIRECTORY` on both.
//!
//! | file | of | is |
//! |---|---|---|
//! | `cookie` | all | the cluster's shared secret |
//! | `ca.pem` | roles on several hosts, stream | certificate of the cluster's authority |
//! | `mesh.pem`, `mesh.key` | roles on several hosts | certificate that allows one role: `<role>.role.alys` |
//! | `stream.pem`, `stream.key` | stream | certificate of the gRPC server |
//! | `validator.key` | chain of a validator | votes |
//! | `bitcoind.password` | bridge | RPC of the Bitcoin node |
//!
//! What governance nodes get is in [`super::members`].

use std::path::{Path, PathBuf};

use alys_proto::Role;

use super::members::{self, label};
use super::topology::{SINGLETONS, Topology};
use crate::failure::{OrFail as _, Outcome};
use crate::prepare::files::{self, Made};
use crate::prepare::tls::{Authority, mesh_names};

/// How the configuration names the folder.
pub const FOLDER: &str = "$CREDENTIALS_DIRECTORY";

/// Whoever gets a folder of its own in every topology: the roles, and `debug` for commands of operators.
pub fn holders() -> impl Iterator<Item = Role> {
    SINGLETONS.into_iter().chain([Role::Sync, Role::Debug])
}

/// These, and the supervisor where there is one.
pub fn holders_in(topology: &Topology) -> impl Iterator<Item = Role> + use<> {
    holders().chain(topology.supervisor_host().map(|_| Role::Supervisor))
}

/// The files of a role. `meshed`: it has links to other hosts.
pub fn of(role: Role, topology: &Topology, meshed: bool) -> Vec<&'static str> {
    let mut names = vec!["cookie"];
    if meshed || role == Role::Stream {
        names.push("ca.pem");
    }
    if meshed {
        names.extend(["mesh.pem", "mesh.key"]);
    }
    match role {
        Role::Stream => names.extend(["stream.pem", "stream.key"]),
        Role::Chain if topology.validator => names.push("validator.key"),
        Role::Bridge => names.push("bitcoind.password"),
        _ => {}
    }
    names
}

/// Files that only an operator has: they are put beside the others by hand.
pub fn is_brought(name: &str) -> bool {
    matches!(name, "validator.key" | "bitcoind.password" | "member.key")
}

/// Makes what is missing in a folder; says what it made and which files are still to be put there.
pub fn make(topology: &Topology, out: &Path) -> Outcome<(Vec<Made>, Vec<PathBuf>)> {
    let mut made = Vec::new();
    files::folder(out)?;
    let authority = Authority::open(&out.join("authority"), "alys", &mut made)?;
    let cookie_file = out.join("authority/cookie");
    let cookie = hex::encode(rand::random::<[u8; 32]>());
    if files::secret(&cookie_file, format!("{cookie}\n"))? {
        made.push(Made { what: "cookie of the cluster".into(), path: cookie_file.clone() });
    }
    let cookie = files::read_secret(&cookie_file)?;
    let ca = std::fs::read_to_string(out.join("authority/ca.pem")).or_configuration("the authority's certificate")?;

    let mut missing = Vec::new();
    for role in holders_in(topology) {
        let folder = out.join(role.name());
        files::secret(&folder.join("cookie"), &cookie)?;
        files::public(&folder.join("ca.pem"), &ca)?;
        issue(&authority, &folder, "mesh", role.name(), &mesh_names(&[role]), &mut made)?;
        if role == Role::Stream {
            issue(&authority, &folder, "stream", "stream", &stream_names(topology), &mut made)?;
        }
        let brought = of(role, topology, true).into_iter().filter(|name| is_brought(name));
        missing.extend(brought.map(|name| folder.join(name)).filter(|path| !path.exists()));
    }
    for name in topology.governance.keys() {
        let folder = out.join(label(name));
        files::folder(&folder)?;
        files::public(&folder.join("ca.pem"), &ca)?;
        // Its name is all that the stream asks of it.
        issue(&authority, &folder, "governance", name, &[], &mut made)?;
        let brought = members::FILES.into_iter().filter(|file| is_brought(file));
        missing.extend(brought.map(|file| folder.join(file)).filter(|path| !path.exists()));
    }
    Ok((made, missing))
}

fn issue(authority: &Authority, folder: &Path, file: &str, who: &str, names: &[String], made: &mut Vec<Made>) -> Outcome {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    authority.write(folder, file, who, &names, made)
}

/// Under which names governance nodes may reach the gRPC server.
fn stream_names(topology: &Topology) -> Vec<String> {
    let hosts = topology.hosts.values().filter(|host| host.roles.contains(&Role::Stream));
    let namespace = &topology.kubernetes.namespace;
    let mut names: Vec<String> = hosts.map(|host| host.address.to_string()).collect();
    names.extend(["localhost".into(), "127.0.0.1".into(), "::1".into()]);
    names.extend(["alys-stream".into(), format!("alys-stream.{namespace}.svc")]);
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::generate::topology::EXAMPLE;

    #[test]
    fn every_role_gets_its_own_and_nothing_of_the_others() {
        let topology = Topology::parse(EXAMPLE).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (made, missing) = make(&topology, folder.path()).unwrap();
        assert!(made.len() > 8, "{made:?}");
        let of_members = ["governance-ada/member.key", "governance-ada/bitcoind.password"];
        let brought = ["chain/validator.key", "bridge/bitcoind.password"].into_iter().chain(of_members);
        assert_eq!(missing, brought.map(|file| folder.path().join(file)).collect::<Vec<_>>());
        let member = std::fs::read_dir(folder.path().join("governance-ada")).unwrap();
        let mut member: Vec<_> = member.map(|entry| entry.unwrap().file_name()).collect();
        member.sort();
        assert_eq!(member, ["ca.pem", "governance.key", "governance.pem"], "neither cookie nor mesh certificate");
        for role in holders_in(&topology) {
            let wanted = of(role, &topology, true);
            for name in &wanted {
                assert!(is_brought(name) || folder.path().join(role.name()).join(name).exists(), "{role} {name}");
            }
            let there = std::fs::read_dir(folder.path().join(role.name())).unwrap();
            let there: Vec<String> = there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert!(there.iter().all(|name| wanted.contains(&name.as_str())), "{role}: {there:?}");
        }
        let cookie = |role: &str| std::fs::read(folder.path().join(role).join("cookie")).unwrap();
        assert_eq!(cookie("storage"), cookie("sync"));
        assert_eq!(make(&topology, folder.path()).unwrap().0, []);
    }
}
