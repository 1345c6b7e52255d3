//! Whether a live process is what a start of it would be now.
//!
//! | it runs | a start would run | so |
//! |---|---|---|
//! | not told (an earlier build) | anything | unknown |
//! | anything | not known | unknown |
//! | anything | nothing: it would fail | cannot start: left alone |
//! | the same | the same | current |
//! | another build, another configuration, or both | | outdated |

use std::fmt;

/// Which program with which configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    /// Version and build id.
    pub build: String,
    /// Digest of what the role reads.
    pub configuration: String,
}

/// What a start of a process would run, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// It does not know.
    Unknown,
    /// This.
    Generation(Generation),
    /// It would fail, for this reason.
    Fails(String),
}

/// How a live process compares with a start of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Age {
    /// It does not say.
    Unknown,
    /// They are the same.
    Current,
    /// They differ.
    Outdated(Difference),
    /// It would not come back.
    CannotStart(String),
}

/// In what two generations differ; at least in one of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Another program.
    pub build: bool,
    /// Another configuration.
    pub configuration: bool,
    /// What a start would run.
    pub wanted: Generation,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.build, self.configuration) {
            (true, true) => "build, configuration",
            (true, false) => "build",
            (false, true) => "configuration",
            (false, false) => "",
        })
    }
}

/// By the table.
pub fn judge(running: Option<&Generation>, on_disk: &OnDisk) -> Age {
    let Some(running) = running.filter(|running| !running.build.is_empty()) else { return Age::Unknown };
    match on_disk {
        OnDisk::Unknown => Age::Unknown,
        OnDisk::Fails(reason) => Age::CannotStart(reason.clone()),
        OnDisk::Generation(wanted) if wanted == running => Age::Current,
        OnDisk::Generation(wanted) => Age::Outdated(Difference {
            build: wanted.build != running.build,
            configuration: wanted.configuration != running.configuration,
            wanted: wanted.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_table() {
        let generation =
            |build: &str, configuration: &str| Generation { build: build.into(), configuration: configuration.into() };
        let on_disk = |build, configuration| OnDisk::Generation(generation(build, configuration));
        let (running, silent) = (generation("0.1.0+a", "c1"), Generation::default());
        let differs = |build, configuration| match judge(Some(&running), &on_disk(build, configuration)) {
            Age::Outdated(difference) => difference.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(judge(None, &on_disk("0.1.0+a", "c1")), Age::Unknown);
        assert_eq!(judge(Some(&silent), &on_disk("0.1.0+a", "c1")), Age::Unknown);
        assert_eq!(judge(Some(&running), &OnDisk::Unknown), Age::Unknown);
        assert_eq!(judge(Some(&running), &OnDisk::Fails("no file".into())), Age::CannotStart("no file".into()));
        assert_eq!(differs("0.1.0+a", "c1"), "Current");
        assert_eq!(differs("0.1.0+b", "c1"), "build");
        assert_eq!(differs("0.1.0+a", "c2"), "configuration");
        assert_eq!(differs("0.2.0+b", "c2"), "build, configuration");
    }
}
