//! `alys debug snapshot`: a support bundle. One file, a JSON object a line, that people can read and the same commands open.
//!
//! | line | holds |
//! |---|---|
//! | `alys_snapshot` | version of the format, when, by whom, versions of program and schema |
//! | `facts` | every instance: vitals, mailbox, waits, how it was got |
//! | `peek` | what waits in one mailbox, secrets redacted |
//! | `setting` | one setting, secrets redacted, and where it came from |
//! | `pegs` | what bridge knows of deposits and burns |
//! | `letters` | the newest dead letters, secrets redacted |
//! | `log` | the last lines of one instance |

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use alys_proto::cluster::MailboxPeek;
use serde::{Deserialize, Serialize};

use super::args;
use super::deadletter::{self, Letters};
use super::facts::Facts;
use super::peek::Peek;
use super::source::{Live, Source};
use crate::cli::args::Place;
use crate::config::show::{Setting, settings};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::print;

/// Of the file; a later one may add lines, which an earlier program skips.
const FORMAT: u32 = 1;

/// An opened file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) header: Header,
    pub(super) facts: Facts,
    pub(super) peeks: BTreeMap<String, Peek>,
    pub(super) settings: Vec<Setting>,
    pub(super) pegs: Option<serde_json::Value>,
    pub(super) letters: Option<Letters>,
    pub(super) logs: BTreeMap<String, Vec<String>>,
}

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) unix_millis: u64,
    pub(super) who: String,
    pub(super) program: String,
    pub(super) schema: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    AlysSnapshot(Header),
    Facts(Facts),
    Peek { instance: String, peek: Box<Peek> },
    Setting(Setting),
    Pegs(serde_json::Value),
    Letters(Letters),
    Log { instance: String, lines: Vec<String> },
}

impl Line {
    /// Kinds of lines that this program knows.
    const KNOWN: [&str; 7] = ["alys_snapshot", "facts", "peek", "setting", "pegs", "letters", "log"];

    /// `None`: a kind that a later program writes.
    fn parse(text: &str) -> Result<Option<Self>, serde_json::Error> {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
        if !Self::KNOWN.iter().any(|kind| fields.contains_key(*kind)) {
            return Ok(None);
        }
        serde_json::from_value(fields.into()).map(Some)
    }
}

pub(super) async fn take(place: &Place, args: &args::Snapshot) -> Outcome {
    let loaded = place.load_live()?;
    let mut source = Source::Live(Box::new(Live::join(place).await?));
    let facts = source.facts().await;
    let mut snapshot = Snapshot {
        header: Header {
            format: FORMAT,
            unix_millis: facts.unix_millis,
            who: super::control::who(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema: alys_proto::SCHEMA,
        },
        settings: settings(&loaded.layers),
        ..Snapshot::default()
    };
    for instance in &facts.instances {
        let name = &instance.instance;
        if instance.mailbox.is_some()
            && let Ok(peek) = source.peek(name, MailboxPeek::default()).await
        {
            snapshot.peeks.insert(name.clone(), peek);
        }
        snapshot.logs.insert(name.clone(), source.log(name, args.log_lines).await);
    }
    if let Source::Live(live) = &source
        && facts.find("bridge").is_some_and(|bridge| bridge.health() != "gone")
    {
        snapshot.pegs = crate::cli::pegs::list(&live.cluster).await.ok().map(|pegs| crate::cli::pegs::json(&pegs));
    }
    if let Source::Live(live) = &source {
        snapshot.letters = deadletter::of_snapshot(live).await;
    }
    snapshot.facts = facts;
    snapshot.write(&args.out)?;
    let (instances, lines) = (snapshot.facts.instances.len(), snapshot.logs.values().map(Vec::len).sum::<usize>());
    print(&format!(
        "{}: {instances} instances, {} settings, {lines} log lines; open it with `alys debug top --from {}`\n",
        args.out.display(),
        snapshot.settings.len(),
        args.out.display()
    ));
    Ok(())
}

impl Snapshot {
    fn write(&self, path: &Path) -> Outcome {
        let doing = || format!("cannot write {}", path.display());
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .or_configuration(doing())
            .map_err(|failure| failure.help("name a new file in a folder that you may write to"))?;
        for line in self.lines() {
            let mut text = serde_json::to_string(&line).or_bug("a snapshot is not JSON")?;
            text.push('\n');
            file.write_all(text.as_bytes()).or_configuration(doing())?;
        }
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        let first = [Line::AlysSnapshot(self.header.clone()), Line::Facts(self.facts.clone())];
        let peeks =
            self.peeks.iter().map(|(instance, peek)| Line::Peek { instance: instance.clone(), peek: Box::new(peek.clone()) });
        let logs = self.logs.iter().map(|(instance, lines)| Line::Log { instance: instance.clone(), lines: lines.clone() });
        let settings = self.settings.iter().cloned().map(Line::Setting);
        let letters = self.letters.clone().map(Line::Letters);
        first.into_iter().chain(peeks).chain(settings).chain(self.pegs.clone().map(Line::Pegs)).chain(letters).chain(logs)
    }

    /// Opens a file.
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).or_configuration(format!("cannot read {}", path.display()))?;
        Self::parse(&text).map_err(|why| Failure::configuration(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut snapshot = Self::default();
        let mut lines = text.lines();
        match lines.next().map(Line::parse) {
            Some(Ok(Some(Line::AlysSnapshot(header)))) => snapshot.header = header,
            _ => return Err("this is no snapshot of `alys debug snapshot`".to_owned()),
        }
        for (position, line) in lines.enumerate() {
            let read = Line::parse(line).map_err(|cause| format!("line {}: {cause}", position.saturating_add(2)))?;
            let Some(read) = read else { continue };
            match read {
                Line::AlysSnapshot(_) => {}
                Line::Facts(facts) => snapshot.facts = facts,
                Line::Peek { instance, peek } => drop(snapshot.peeks.insert(instance, *peek)),
                Line::Setting(setting) => snapshot.settings.push(setting),
                Line::Pegs(pegs) => snapshot.pegs = Some(pegs),
                Line::Letters(letters) => snapshot.letters = Some(letters),
                Line::Log { instance, lines } => drop(snapshot.logs.insert(instance, lines)),
            }
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::sample;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.alys");
        let facts = sample::facts();
        let setting = Setting { key: "a.b".into(), value: toml::Value::Integer(7), origin: "default".into() };
        let snapshot = Snapshot {
            header: Header { format: FORMAT, who: "ada".into(), ..Header::default() },
            peeks: BTreeMap::from([("storage".to_owned(), Peek::default())]),
            logs: BTreeMap::from([("storage".to_owned(), vec!["one".to_owned(), "two".to_owned()])]),
            settings: vec![setting],
            pegs: Some(serde_json::json!({ "peg_ins": [] })),
            letters: Some(Letters { fallen_out: 3, ..Letters::default() }),
            facts,
        };
        snapshot.write(&path).unwrap();
        assert_eq!(Snapshot::read(&path).unwrap(), snapshot);
        assert!(snapshot.write(&path).unwrap_err().help.is_some(), "a file that is there is not overwritten");
    }

    #[test]
    fn other_files_are_refused_and_later_lines_skipped() {
        assert!(Snapshot::parse("{}").unwrap_err().contains("no snapshot"));
        let header = serde_json::to_string(&Line::AlysSnapshot(Header::default())).unwrap();
        assert!(Snapshot::parse(&format!("{header}\n{{\"invented_later\":{{\"x\":1}}}}\n")).is_ok());
        assert!(Snapshot::parse(&format!("{header}\nnot json\n")).unwrap_err().starts_with("line 2"));
    }
}
