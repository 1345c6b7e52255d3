//! `docs/telemetry.md` names every metric, and says of it what the code says.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use alys_cluster::metrics::{describe, describe_shell};

const BEGIN: &str = "<!-- metrics: kept equal to the code by node/tests/telemetry.rs -->\n";
const END: &str = "<!-- end of metrics -->";

/// The table of one exposition: name, type, help.
fn table(title: &str, exposition: &str) -> String {
    let mut table = format!("\n### {title}\n\n| metric | type | meaning |\n|---|---|---|\n");
    let mut help = "";
    for line in exposition.lines() {
        if let Some(found) = line.strip_prefix("# HELP ") {
            help = found.split_once(' ').map_or("", |(_, text)| text);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|found| found.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            writeln!(table, "| `{name}{suffix}` | {kind} | {help} |").unwrap();
        }
    }
    table
}

fn all() -> String {
    let mut all = table("Every role", &describe_shell());
    let roles = [
        ("supervisor", describe::<alys_supervisor::Metrics>("supervisor")),
        ("storage", describe::<alys_storage::Metrics>("storage")),
        ("engine", describe::<alys_engine::Metrics>("engine")),
        ("engine, with an execution client", describe::<alys_engine::client::Metrics>("engine")),
        ("chain", describe::<alys_chain::Metrics>("chain")),
        ("bridge", describe::<alys_bridge::Metrics>("bridge")),
        ("stream", describe::<alys_stream::Metrics>("stream")),
        ("network", describe::<alys_network::Metrics>("network")),
        ("sync", describe::<alys_sync::Metrics>("sync")),
        ("governance", describe::<alys_governance::Metrics>("governance")),
    ];
    for (role, exposition) in roles {
        all.push_str(&table(role, &exposition));
    }
    all.push('\n');
    all
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/telemetry.md")
}

/// With `ALYS_WRITE_DOCS=1` it writes the tables instead.
#[test]
fn the_page_names_every_metric() {
    let text = std::fs::read_to_string(page()).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (documented, tail) = rest.split_once(END).unwrap();
    let found = all();
    if std::env::var_os("ALYS_WRITE_DOCS").is_some() {
        std::fs::write(page(), format!("{head}{BEGIN}{found}{END}{tail}")).unwrap();
    } else {
        assert!(documented == found, "docs/telemetry.md is not what the code says: run the test with ALYS_WRITE_DOCS=1");
    }
}

#[test]
fn names_and_texts_keep_the_rules() {
    for row in all().lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = cells[0].trim_start_matches("| `").trim_end_matches('`');
        assert!(
            name.starts_with("alys_")
                && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'),
            "{name}"
        );
        assert!(cells[2].trim_end_matches(" |").len() > 10, "no help text for {name}");
        for foreign in ["_millis", "_ms", "_msec", "_kb", "_mb", "_minutes"] {
            assert!(!name.ends_with(foreign), "{name} is not in base units");
        }
    }
}
