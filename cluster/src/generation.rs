//! Which program with which configuration a process runs, and what a start of it would run now. A process looks itself: its
//! files are on its host, and nobody else knows which layers made its configuration.
//!
//! | part | is |
//! |---|---|
//! | build | version, and the build id that the linker wrote into the program (`readelf -n`): two builds of one version differ |
//! | configuration | a digest that whoever starts the role computes, here opaque |

use std::fmt;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use alys_proto::cluster::Generation;

/// Digits of a build id that are shown: enough to tell builds apart.
const DIGITS: usize = 8;
/// Program headers and bytes of notes that are looked at: a linker writes a dozen, and some hundred bytes.
const MOST_HEADERS: u64 = 64;
const MOST_NOTE_BYTES: usize = 64 * 1024;

/// Computes the digest of the configuration that a start would have now, or says why a start would fail.
pub type Digest = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Where a process comes from. The default knows its program only.
#[derive(Clone, Default)]
pub struct Origin {
    /// Digest of the configuration that it was started with.
    pub configuration: String,
    /// Files that make the configuration: when one of them changes, the digest is computed anew.
    pub files: Vec<PathBuf>,
    /// Computes it; `None`: what a start would run is not known.
    pub digest: Option<Digest>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}, {:?})", self.configuration, self.files)
    }
}

/// What runs, and what a start would run.
pub(crate) struct Generations {
    running: Generation,
    program: Option<PathBuf>,
    origin: Origin,
    last: Mutex<Option<(Vec<Stamp>, OnDisk)>>,
}

/// What a start would run; `None`: not known.
type OnDisk = Result<Option<Generation>, String>;

/// Changes with a file: device, inode, length, seconds and nanoseconds of its last change.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Generations {
    /// Of this process.
    pub(crate) fn new(origin: Origin) -> Self {
        let running = Generation { build: build(Path::new("/proc/self/exe")), configuration: origin.configuration.clone() };
        Self { running, program: std::env::current_exe().ok(), origin, last: Mutex::default() }
    }

    /// What runs.
    pub(crate) fn running(&self) -> Generation {
        self.running.clone()
    }

    /// What a start would run now. Looks at the files' times; reads them only when one has changed.
    pub(crate) fn on_disk(&self) -> OnDisk {
        let (Some(program), Some(digest)) = (&self.program, &self.origin.digest) else { return Ok(None) };
        let stamps: Vec<Stamp> = self.origin.files.iter().chain([program]).map(|file| stamp(file)).collect();
        // Guards plain values: a panic elsewhere leaves them whole.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, found)) = &*last
            && *before == stamps
        {
            return found.clone();
        }
        let found = digest().map(|configuration| Some(Generation { build: build(program), configuration }));
        *last = Some((stamps, found.clone()));
        found
    }
}

fn stamp(file: &Path) -> Stamp {
    let data = std::fs::metadata(file).ok()?;
    Some((data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}

/// A program that is another file may be another version, whose number only it knows: its build id says so.
fn build(program: &Path) -> String {
    let id = File::open(program).ok().and_then(|file| build_id(&file));
    let id: Option<String> = id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
    match id.as_deref().and_then(|id| id.get(..DIGITS)) {
        Some(id) => format!("{}+{id}", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The note `NT_GNU_BUILD_ID` of a 64-bit little-endian program (elf(5)).
fn build_id(file: &File) -> Option<Vec<u8>> {
    const NOTE: u32 = 4;
    let header = bytes(file, 0, 64)?;
    if header.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(&header, 32, 8)?, number(&header, 54, 2)?, number(&header, 56, 2)?);
    for index in 0..count.min(MOST_HEADERS) {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let entry = bytes(file, at, 56)?;
        if number(&entry, 0, 4)? != u64::from(NOTE) {
            continue;
        }
        let length = usize::try_from(number(&entry, 32, 8)?).ok()?.min(MOST_NOTE_BYTES);
        let notes = bytes(file, number(&entry, 8, 8)?, length)?;
        if let Some(id) = id_in(&notes) {
            return Some(id.to_vec());
        }
    }
    None
}

/// Notes stand one behind the other: three numbers, name and contents, both filled up to four bytes.
fn id_in(mut notes: &[u8]) -> Option<&[u8]> {
    const BUILD_ID: u64 = 3;
    loop {
        let (name, contents) = (usize::try_from(number(notes, 0, 4)?).ok()?, usize::try_from(number(notes, 4, 4)?).ok()?);
        let begin = name.checked_next_multiple_of(4)?.checked_add(12)?;
        let end = begin.checked_add(contents)?;
        if number(notes, 8, 4)? == BUILD_ID && notes.get(12..16)? == b"GNU\0" {
            return notes.get(begin..end);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn bytes(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, at).ok()?;
    Some(buffer)
}

/// A little-endian number of at most eight bytes.
fn number(from: &[u8], at: usize, length: usize) -> Option<u64> {
    let digits = from.get(at..at.checked_add(length)?)?;
    Some(digits.iter().rev().fold(0, |sum, digit| (sum << 8) | u64::from(*digit)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_program_is_known_by_its_build_id() {
        let own = std::env::current_exe().unwrap();
        let running = Generations::new(Origin::default()).running();
        assert_eq!(running.build, build(&own));
        let said = std::process::Command::new("readelf").arg("-n").arg(&own).output();
        if let Ok(said) = said {
            let (_, id) = running.build.split_once('+').unwrap();
            assert!(String::from_utf8_lossy(&said.stdout).contains(&format!("Build ID: {id}")), "{}", running.build);
        }
    }

    #[test]
    fn no_file_is_too_strange() {
        let folder = tempfile::tempdir().unwrap();
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [0, 5, 63, 64, 100, 700, 2_000] {
            let path = folder.path().join("program");
            std::fs::write(&path, &own[..length]).unwrap();
            let _found_or_not = build_id(&File::open(&path).unwrap());
        }
        let mut endless = vec![0xff; 64];
        endless[8] = 0;
        assert_eq!(id_in(&endless), None);
        assert_eq!(id_in(&[0; 24]), None, "empty notes end with the bytes");
        assert_eq!(build(&folder.path().join("missing")), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn files_are_read_when_they_change_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alys.toml");
        std::fs::write(&file, "a").unwrap();
        let (reads, path) = (Arc::new(AtomicU32::new(0)), file.clone());
        let counted = reads.clone();
        let digest = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::fs::read_to_string(&path).map_err(|cause| cause.to_string())
        };
        let origin = Origin { configuration: "a".into(), files: vec![file.clone()], digest: Some(Arc::new(digest)) };
        let generations = Generations::new(origin);
        let on_disk = || generations.on_disk().map(|found| found.unwrap());
        assert_eq!(on_disk(), Ok(generations.running()));
        assert_eq!((on_disk(), reads.load(Ordering::Relaxed)), (Ok(generations.running()), 1));
        std::fs::write(&file, "other").unwrap();
        assert_eq!(on_disk().unwrap().configuration, "other");
        std::fs::remove_file(&file).unwrap();
        assert!(on_disk().is_err());
        assert_eq!(generations.running().configuration, "a");
        assert_eq!(Generations::new(Origin::default()).on_disk(), Ok(None));
    }
}
