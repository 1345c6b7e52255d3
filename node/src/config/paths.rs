//! Which values are paths, and what they are relative to: the data directory.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Keys are paths when they end like this …
const ENDINGS: [&str; 4] = ["_dir", "_file", "_path", "_key"];
/// … or are one of these files of a table `tls`.
const TLS: [&str; 3] = ["ca", "cert", "key"];

/// Whether the value of a key in a table is a path.
pub fn is_path(table: &str, key: &str) -> bool {
    ENDINGS.iter().any(|ending| key.ends_with(ending)) || (table == "tls" && TLS.contains(&key))
}

/// Makes every path absolute.
pub fn resolve(table: &mut Table, base: &Path) {
    walk(table, "", base);
}

fn walk(table: &mut Table, name: &str, base: &Path) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => walk(inner, key, base),
            Value::String(text) if is_path(name, key) && !text.is_empty() => {
                *text = absolute(Path::new(text), base).to_string_lossy().into_owned();
            }
            _ => {}
        }
    }
}

/// A path from the configuration: `~/` is the home directory, relative ones start at `base`.
pub fn absolute(path: &Path, base: &Path) -> PathBuf {
    let expanded = match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => base.join(path),
    };
    // `.` parts only: `..` may go through a link.
    expanded.components().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_paths_are_made_absolute() {
        let mut table: Table =
            toml::from_str("id = 'x'\nrun_dir = 'run'\ncookie_file = '/etc/c'\nempty_dir = ''\n[stream.tls]\nca = './tls/ca.pem'\n[engine]\nlisten = 'a'")
                .unwrap();
        resolve(&mut table, Path::new("/data"));
        let expected: Table = toml::from_str(
            "id = 'x'\nrun_dir = '/data/run'\ncookie_file = '/etc/c'\nempty_dir = ''\n[stream.tls]\nca = '/data/tls/ca.pem'\n[engine]\nlisten = 'a'",
        )
        .unwrap();
        assert_eq!(table, expected);
    }
}
