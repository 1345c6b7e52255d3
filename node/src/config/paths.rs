//! Which values are paths, and what they are relative to: the data directory, or with `$CREDENTIALS_DIRECTORY/` in front the
//! folder in which systemd or Kubernetes hands secrets to a process.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Keys are paths when they end like this …
const ENDINGS: [&str; 4] = ["_dir", "_file", "_path", "_key"];
/// … or are one of these files of a table `tls`.
const TLS: [&str; 3] = ["ca", "cert", "key"];
/// The variable that names the folder of secrets.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

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

/// A path from the configuration: `~/` is the home directory, `$CREDENTIALS_DIRECTORY/` the folder of secrets, relative
/// ones start at `base`. A folder that there is none of stays in the path, so that whoever misses the file names it.
pub fn absolute(path: &Path, base: &Path) -> PathBuf {
    below(path, base, std::env::var_os(CREDENTIALS).map(PathBuf::from))
}

fn below(path: &Path, base: &Path, credentials: Option<PathBuf>) -> PathBuf {
    let expanded = match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => match (path.strip_prefix(format!("${CREDENTIALS}")), credentials) {
            (Ok(rest), Some(folder)) => folder.join(rest),
            (Ok(_), None) => path.to_owned(),
            _ => base.join(path),
        },
    };
    // `.` parts only: `..` may go through a link.
    expanded.components().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn secrets_are_where_the_platform_hands_them_in() {
        let path = |text: &str, credentials: Option<&str>| {
            below(Path::new(text), Path::new("/data"), credentials.map(PathBuf::from)).display().to_string()
        };
        assert_eq!(path("$CREDENTIALS_DIRECTORY/cookie", Some("/run/c")), "/run/c/cookie");
        assert_eq!(path("$CREDENTIALS_DIRECTORY/cookie", None), "$CREDENTIALS_DIRECTORY/cookie");
        assert_eq!(path("cookie", Some("/run/c")), "/data/cookie");
    }

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
