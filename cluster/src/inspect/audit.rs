//! Who changed something with a debugger, and when: a line in the role's log and one in a file that only grows.
//! What cannot be written down is not done.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use alys_proto::Refused;

use crate::identity::{Identity, unix_millis};

/// Characters of a name or reason that are kept: they come from another process.
const LONGEST: usize = 200;

/// The audit of one process. Several processes may share the file: each line is one write.
pub(crate) struct Audit {
    pub(crate) file: PathBuf,
    pub(crate) identity: Identity,
}

impl Audit {
    /// Writes down what is about to be done.
    pub(crate) fn record(&self, who: &str, what: &str, reason: &str) -> Result<(), Refused> {
        if who.trim().is_empty() {
            return Err(Refused::Malformed("a debugger that changes something must say who it is".into()));
        }
        let [who, what, reason] = [who, what, reason].map(|text| text.chars().take(LONGEST).collect::<String>());
        tracing::warn!(who, what, reason, "changed by a debugger");
        let line = format!(
            "{{\"unix_millis\":{},\"who\":{},\"what\":{},\"instance\":{},\"incarnation\":\"{}\",\"reason\":{}}}\n",
            unix_millis(),
            quoted(&who),
            quoted(&what),
            quoted(&self.identity.instance),
            self.identity.incarnation,
            quoted(&reason)
        );
        let written = std::fs::File::options().create(true).append(true).mode(0o600).open(&self.file);
        written.and_then(|mut file| file.write_all(line.as_bytes())).map_err(|cause| {
            Refused::Failed(format!("not done, because it cannot be written down in {}: {cause}", self.file.display()))
        })
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_proto::Role;

    use super::*;

    #[test]
    fn what_is_done_is_written_down_or_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let mut audit = Audit { file: folder.path().join("audit.log"), identity: Identity::new(Role::Network, "network") };
        audit.record("ada \"the\nfirst\"", "freeze", "looking").unwrap();
        audit.record("ada", "thaw", "").unwrap();
        let text = std::fs::read_to_string(&audit.file).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(r#""who":"ada \"the first\"","what":"freeze","instance":"network""#), "{text}");
        assert!(matches!(audit.record(" ", "freeze", ""), Err(Refused::Malformed(_))));
        audit.file = folder.path().join("missing/audit.log");
        assert!(matches!(audit.record("ada", "freeze", ""), Err(Refused::Failed(_))));
    }
}
