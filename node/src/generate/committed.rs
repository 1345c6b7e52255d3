//! `deploy/` is what the generator writes from `deploy/topology/`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::generate::topology::Topology;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn topologies() -> Vec<Topology> {
    let files = ["federation-member", "full-node", "one-node"];
    let read = |name| std::fs::read_to_string(deploy().join(format!("topology/{name}.toml"))).unwrap();
    files.into_iter().map(|name| Topology::parse(&read(name)).unwrap()).collect()
}

fn collect(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn compare(folder: &str, written: &Tree) {
    let mut committed = BTreeMap::new();
    let root = deploy().join(folder);
    collect(&root, &root, &mut committed);
    let repeat = "run `make generate`";
    for (path, text) in written.files() {
        let now = committed.remove(path);
        assert!(now.as_deref() == Some(text), "deploy/{folder}/{} is not what is generated: {repeat}", path.display());
    }
    assert!(committed.is_empty(), "not generated any more: {:?}: {repeat}", committed.keys());
}

#[test]
fn systemd_is_what_the_generator_writes() {
    compare("systemd", &systemd::generate(&topologies()));
}

#[test]
fn kubernetes_is_what_the_generator_writes() {
    compare("kubernetes", &kubernetes::generate(&topologies()));
}

#[test]
fn two_runs_write_the_same() {
    assert_eq!(systemd::generate(&topologies()), systemd::generate(&topologies()));
    assert_eq!(kubernetes::generate(&topologies()), kubernetes::generate(&topologies()));
}
