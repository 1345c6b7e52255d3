//! `docs/coverage.md`, the pages of the roles and the links of the documentation are true.
//!
//! Format of a row in `docs/coverage.md`, wherever a table has five columns:
//!
//! | column | holds |
//! |---|---|
//! | 1 | lines of the seed: `13`, `93–106`, `5, 239`; or a row of the cluster's design: `gap 3` |
//! | 2 | what the seed says there |
//! | 3 | code: `path` and after it the symbols of that file, each in backticks; then the next path |
//! | 4 | tests that show it: `path::name` in backticks |
//! | 5 | `done`, or `partial · part N: what is missing`, or `open · part N: what is missing`, N from 2 to 5 |
//!
//! Paths start at the root of the repository and hold a `/`; symbols are single words. A row that is done names code and
//! a test; one that is partial names code. Every line of the seed that says something has a row, and so has every row and
//! bullet of the cluster's design.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of the seed that say something: responsibilities, interactions, flows, patterns, principles.
const SEED_LINES: &str = "5, 10, 13–17, 20, 23–27, 30, 33–37, 40, 43–47, 50, 53–57, 60, 63–67, 70, 73–77, 80, 83–87, \
    94–99, 103–106, 111–116, 120–123, 128–133, 137–140, 145–150, 154–157, 161–177, 180–196, 199–217, 220–233, 239–242, 244–254, \
    259–277, 281–284, 288–300, 303–313, 318–332, 335–354, 359–374, 377–398, 402–406";

/// Parts of the cluster's design, and how many rows or bullets each has there.
const CLUSTER_PARTS: [(&str, usize); 7] =
    [("gap", 9), ("header", 3), ("mailbox", 7), ("registry", 7), ("supervision", 7), ("observation", 7), ("edge", 18)];

/// Names of the seed that are kept: each is in the document and in the code.
const SEED_NAMES: [&str; 30] = [
    "BuildBlockRequest",
    "BlockTemplate",
    "FinalizedBlock",
    "BlockPropagation",
    "BitcoinTransactionDetected",
    "GovernanceApprovalRequest",
    "PegInValidationRequest",
    "MintTokensRequest",
    "BurnEventDetected",
    "CreatePegOutTransaction",
    "RequestFederationSignatures",
    "BroadcastBitcoinTransaction",
    "SyncRequiredNotification",
    "ParallelBlockDownloadRequest",
    "ValidatedBlockBatch",
    "BlockImportRequest",
    "GovernanceBlockProposal",
    "FederationConfigUpdate",
    "BatchBlockImport",
    "MailboxConfig",
    "BackpressureStrategy",
    "DropOldest",
    "ActorError",
    "EngineError",
    "ProcessTransaction",
    "TransactionResult",
    "ExecuteBlock",
    "ValidatePegOperations",
    "GetBalance",
    "start_in_test_context",
];

const ROLES: [&str; 8] = ["supervisor", "storage", "engine", "chain", "bridge", "stream", "network", "sync"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// One row of five columns. `lines` is what stands in the first.
struct Row {
    number: usize,
    lines: String,
    code: String,
    tests: String,
    state: String,
}

fn rows() -> Vec<Row> {
    let document = read("docs/coverage.md").expect("docs/coverage.md is there");
    let mut rows = Vec::new();
    for (index, line) in document.lines().enumerate() {
        let Some(inner) = line.strip_prefix('|').and_then(|rest| rest.trim_end().strip_suffix('|')) else { continue };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        let [lines, _says, code, tests, state] = cells[..] else { continue };
        let is_of_the_seed = lines.starts_with(|letter: char| letter.is_ascii_digit());
        if is_of_the_seed || CLUSTER_PARTS.iter().any(|(part, _)| number_in(lines, part).is_some()) {
            let [lines, code, tests, state] = [lines, code, tests, state].map(str::to_owned);
            rows.push(Row { number: index + 1, lines, code, tests, state });
        }
    }
    rows
}

/// The number of a row of the cluster's design, if it is of this part.
fn number_in(first: &str, part: &str) -> Option<usize> {
    first.strip_prefix(part)?.strip_prefix(' ')?.parse().ok()
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether a text holds the word with nothing of a name right before or behind it.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let behind = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !behind.is_some_and(is_word)
    })
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_path_and_symbol_exists() {
    let mut problems = Vec::new();
    for Row { number, code, .. } in rows() {
        let mut file: Option<(&str, String)> = None;
        for name in quoted(&code) {
            if name.contains('/') {
                let text = read(name);
                if !root().join(name).exists() {
                    problems.push(format!("row {number}: there is no `{name}`"));
                }
                file = text.map(|text| (name, text));
            } else {
                match &file {
                    Some((path, text)) if !has_word(text, name) => {
                        problems.push(format!("row {number}: `{path}` has no `{name}`"))
                    }
                    Some(_) => {}
                    None => problems.push(format!("row {number}: `{name}` follows no file")),
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_test_exists() {
    let mut problems = Vec::new();
    for Row { number, tests, .. } in rows() {
        for name in quoted(&tests) {
            match name.split_once("::").map(|(path, test)| (read(path), test)) {
                Some((Some(text), test)) if text.contains(&format!("fn {test}(")) => {}
                Some((Some(_), test)) => problems.push(format!("row {number}: no test `{test}` in the file of `{name}`")),
                Some((None, _)) => problems.push(format!("row {number}: no file of `{name}`")),
                None => problems.push(format!("row {number}: `{name}` is not of the form path::name")),
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_state_is_honest_in_form() {
    let mut problems = Vec::new();
    for Row { number, code, tests, state, .. } in rows() {
        let has_code = quoted(&code).any(|name| name.contains('/'));
        let has_test = quoted(&tests).next().is_some();
        let names_part = |rest: &str| {
            let part = rest.strip_prefix(" · part ").and_then(|rest| rest.split_once(": "));
            part.is_some_and(|(part, what)| ["2", "3", "4", "5"].contains(&part) && !what.is_empty())
        };
        let right = match (state.as_str(), state.strip_prefix("partial"), state.strip_prefix("open")) {
            ("done", _, _) => has_code && has_test,
            (_, Some(rest), _) => names_part(rest) && has_code,
            (_, _, Some(rest)) => names_part(rest),
            _ => false,
        };
        if !right {
            problems.push(format!("row {number}: `{state}` does not fit the row or the format"));
        }
    }
    assert_none(&problems);
}

/// `13`, `93–106` or several of them with commas.
fn covers(lines: &str, wanted: u32) -> bool {
    lines.split(',').map(str::trim).any(|part| {
        let (first, last) = part.split_once('–').unwrap_or((part, part));
        matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if (first..=last).contains(&wanted))
    })
}

#[test]
fn every_line_of_the_seed_has_a_row() {
    let rows = rows();
    let wanted = (1..=406).filter(|line| covers(SEED_LINES, *line));
    let missing = wanted.filter(|line| !rows.iter().any(|row| covers(&row.lines, *line)));
    let problems: Vec<String> = missing.map(|line| format!("line {line} of the seed has no row")).collect();
    assert_none(&problems);
}

#[test]
fn every_row_of_the_cluster_design_has_one_row() {
    let rows = rows();
    let mut problems = Vec::new();
    for (part, count) in CLUSTER_PARTS {
        let found: Vec<usize> = rows.iter().filter_map(|row| number_in(&row.lines, part)).collect();
        if found != (1..=count).collect::<Vec<_>>() {
            problems.push(format!("`{part}` has 1 to {count} in the design, here {found:?}"));
        }
    }
    assert_none(&problems);
}

/// All files below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

#[test]
fn every_name_of_the_seed_is_in_the_document_and_in_the_code() {
    let document = read("docs/coverage.md").unwrap();
    let mut sources = Vec::new();
    for folder in ["proto", "cluster", "actors", "node", "tests"] {
        files(&root().join(folder), &[".rs", ".proto"], &mut sources);
    }
    sources.retain(|path| !path.ends_with("tests/tests/coverage.rs"));
    let texts: Vec<String> = sources.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let mut problems = Vec::new();
    for name in SEED_NAMES {
        if !has_word(&document, name) {
            problems.push(format!("docs/coverage.md does not name {name}"));
        }
        if !texts.iter().any(|text| has_word(text, name)) {
            problems.push(format!("the code does not know {name}"));
        }
    }
    assert_none(&problems);
}

#[test]
fn no_role_crate_depends_on_another() {
    let mut problems = Vec::new();
    for role in ROLES {
        let manifest = read(&format!("actors/{role}/Cargo.toml")).unwrap();
        for other in ROLES.into_iter().filter(|other| *other != role) {
            if has_word(&manifest.replace('-', "_"), &format!("alys_{other}")) {
                problems.push(format!("{role} depends on {other}"));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_message_of_a_role_is_on_its_page() {
    let mut problems = Vec::new();
    for role in ROLES {
        let page = read(&format!("docs/crates/{role}.md")).unwrap_or_default();
        let messages = read(&format!("proto/proto/alys/{role}.proto")).unwrap();
        for name in messages.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()) {
            if !page.contains(&format!("`{name}`")) {
                problems.push(format!("docs/crates/{role}.md does not name `{name}`"));
            }
        }
    }
    assert_none(&problems);
}

/// Targets of inline links outside of code.
fn links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if !in_code {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| target.to_owned()));
        }
    }
    found
}

#[test]
fn relative_links_of_the_documentation_resolve() {
    let mut pages = vec![root().join("README.md")];
    files(&root().join("docs"), &[".md"], &mut pages);
    let mut problems = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in links(&text) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !page.parent().unwrap().join(path).exists() {
                problems.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert_none(&problems);
}
