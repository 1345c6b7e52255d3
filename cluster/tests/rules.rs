//! What this workspace relies on of ractor and ractor_cluster, where a rule is about the sources and not about what runs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Every `.rs` file below a folder of the workspace.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// Young code: a breaking release is planned, and what is written down of its edges holds for this one.
#[test]
fn ractor_is_pinned_to_the_version_that_was_read() {
    let manifest = read("Cargo.toml");
    let lock = read("Cargo.lock");
    for package in ["ractor", "ractor_cluster"] {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{package} = "))).unwrap();
        assert!(line.contains("\"=0.16.5\""), "{line}");
        assert!(!line.contains("async-trait"), "the feature is global: {line}");
        let locked: Vec<&str> =
            lock.split("[[package]]").filter(|one| one.contains(&format!("name = \"{package}\"\n"))).collect();
        assert!(locked.len() == 1 && locked[0].contains("version = \"0.16.5\""), "{locked:?}");
    }
    assert!(!lock.contains("name = \"ractor-supervisor\""), "it does not compile with the cluster feature");
}

/// A handler's panic is an exit code of its process, not its abort: ractor catches what unwinds.
#[test]
fn panics_unwind_in_every_profile() {
    let manifest = read("Cargo.toml");
    assert!(!manifest.contains("panic = \"abort\""));
    let release = manifest.split("[profile.release]").nth(1).unwrap();
    assert!(release.lines().take_while(|line| !line.starts_with('[')).any(|line| line == "panic = \"unwind\""), "{release}");
}

/// `ractor::call!` without a deadline waits for ever when the answer is lost.
#[test]
fn nobody_asks_without_a_deadline() {
    let lint = read(".clippy.toml");
    let banned = lint.split("disallowed-macros").nth(1).unwrap_or_default();
    for name in ["ractor::call", "ractor::forward"] {
        assert!(banned.contains(&format!("\"{name}\"")), ".clippy.toml does not ban {name}!");
    }
    // Put together here, or this file would be found.
    let calls = [["ractor::call", "!("].concat(), ["ractor::forward", "!("].concat()];
    for path in ["actors", "cluster", "node", "proto", "tests"].into_iter().flat_map(sources) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!calls.iter().any(|call| text.contains(call)), "{} asks without a deadline", path.display());
    }
}

/// Stopping the proxy of a remote actor tears down its whole session, so nobody outside of the shell holds one.
#[test]
fn no_actor_reference_leaves_the_shell() {
    let is_reference = |text: &str| ["ActorRef", "ActorCell"].iter().any(|name| text.contains(name));
    for path in sources("cluster/src") {
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("pub ") {
            let rest = &text[at..];
            let ends: &[char] =
                if rest.split('(').next().unwrap_or_default().contains("fn ") { &['{', ';'] } else { &['{', ';', ','] };
            let item = rest.split(ends).next().unwrap_or_default();
            assert!(!is_reference(item), "{} gives out a reference: {item}", path.display());
        }
    }
    for path in ["actors", "node"].into_iter().flat_map(sources) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!is_reference(&text), "{} holds a reference of ractor", path.display());
    }
}
