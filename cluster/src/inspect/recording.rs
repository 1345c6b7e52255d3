//! What a mailbox received, in a file: a JSON object a line, the first one says whose mailbox it was.

use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;

use alys_proto::cluster::{Header, Passed};
use alys_proto::{Message as _, Role};
use serde::{Deserialize, Serialize};

/// The first line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Form of the file.
    pub alys_recording: u32,
    /// Whose mailbox.
    pub role: String,
    /// Which instance.
    pub instance: String,
    /// When it began, Unix milliseconds.
    pub unix_millis: u64,
    /// Version of the message schema.
    pub schema: u32,
}

/// One message of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When it arrived, Unix milliseconds.
    pub unix_millis: u64,
    /// Its name.
    pub name: String,
    /// Role that sent it.
    pub sender: String,
    /// Nobody waited for an answer.
    pub told: bool,
    /// The header as it came, encoded, as hexadecimal digits.
    #[serde(default)]
    pub header: String,
    /// The body, encoded, as hexadecimal digits.
    pub body: String,
}

/// What came of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Of the message, counted from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Role that had sent it.
    pub sender: String,
    /// Nobody waited for an answer.
    pub told: bool,
    /// Why there was no answer.
    pub refused: Option<String>,
    /// Size of the answer.
    pub reply_bytes: usize,
    /// Until the answer.
    pub took_micros: u64,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Its first line is of something else.
    #[error("this is no recording of `alys debug record`")]
    Foreign,
    /// It is of a later program.
    #[error("this recording has form {0}; this program reads form {FORM}")]
    Later(u32),
    /// A line of it.
    #[error("line {line}: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// Form of the file.
const FORM: u32 = 1;

impl Recording {
    /// Of a mailbox, beginning now.
    pub fn begin(role: Role, instance: &str) -> Self {
        Self {
            alys_recording: FORM,
            role: role.name().to_owned(),
            instance: instance.to_owned(),
            unix_millis: crate::identity::unix_millis(),
            schema: alys_proto::SCHEMA,
        }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// It cannot be read, or is no recording.
    pub fn read(path: &Path) -> Result<(Self, Vec<Recorded>), RecordingError> {
        let mut lines = BufReader::new(std::fs::File::open(path).map_err(RecordingError::Io)?).lines();
        let first = lines.next().transpose().map_err(RecordingError::Io)?.unwrap_or_default();
        let header: Self = serde_json::from_str(&first).map_err(|_foreign| RecordingError::Foreign)?;
        if header.alys_recording > FORM {
            return Err(RecordingError::Later(header.alys_recording));
        }
        let mut messages = Vec::new();
        for (position, line) in lines.enumerate() {
            let line = line.map_err(RecordingError::Io)?;
            let wrong = |why: String| RecordingError::Line { line: position.saturating_add(2), why };
            let message: Recorded = serde_json::from_str(&line).map_err(|cause| wrong(cause.to_string()))?;
            message.body().and_then(|_| message.header()).map_err(wrong)?;
            messages.push(message);
        }
        Ok((header, messages))
    }
}

impl Recorded {
    /// Of a message that a tap brought whole.
    pub fn of(passed: &Passed) -> Self {
        Self {
            unix_millis: passed.unix_millis,
            name: passed.name.clone(),
            sender: Role::try_from(passed.sender).unwrap_or(Role::Unspecified).name().to_owned(),
            told: passed.told,
            header: passed.header.as_ref().map(|header| hex::encode(header.encode_to_vec())).unwrap_or_default(),
            body: hex::encode(&passed.whole),
        }
    }

    /// The message itself.
    ///
    /// # Errors
    /// The line does not hold hexadecimal digits.
    pub fn body(&self) -> Result<Vec<u8>, String> {
        hex::decode(&self.body).map_err(|cause| cause.to_string())
    }

    /// The header that it came with, without its deadline, which has long passed.
    ///
    /// # Errors
    /// The line does not hold one.
    pub fn header(&self) -> Result<Header, String> {
        let bytes = hex::decode(&self.header).map_err(|cause| cause.to_string())?;
        let header = Header::decode(bytes.as_slice()).map_err(|cause| cause.to_string())?;
        Ok(Header { deadline_unix_millis: 0, ..header })
    }
}

/// Writes a line of a recording.
///
/// # Errors
/// It cannot be written.
pub fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let sent = Header { epoch: 5, deadline_unix_millis: 9, ..Header::default() };
        let (name, sender) = ("GetHead".into(), Role::Debug.into());
        let passed = Passed { name, sender, whole: vec![1, 2], header: Some(sent), ..Passed::default() };
        let (header, message) = (Recording::begin(Role::Storage, "storage"), Recorded::of(&passed));
        let mut file = std::fs::File::create(&path).unwrap();
        write_line(&mut file, &header).unwrap();
        write_line(&mut file, &message).unwrap();
        let (read, messages) = Recording::read(&path).unwrap();
        assert_eq!((read, &messages[..]), (header.clone(), &[message][..]));
        assert_eq!((messages[0].body().unwrap(), messages[0].sender.as_str()), (vec![1, 2], "debug"));
        assert_eq!(messages[0].header().unwrap(), Header { epoch: 5, ..Header::default() });

        std::fs::write(&path, "{}\n").unwrap();
        assert!(matches!(Recording::read(&path), Err(RecordingError::Foreign)));
        let later = serde_json::to_string(&Recording { alys_recording: 9, ..header.clone() }).unwrap();
        std::fs::write(&path, later).unwrap();
        assert!(matches!(Recording::read(&path), Err(RecordingError::Later(9))));
        std::fs::write(&path, serde_json::to_string(&header).unwrap() + "\n{\"name\":7}\n").unwrap();
        assert!(matches!(Recording::read(&path), Err(RecordingError::Line { line: 2, .. })));
    }
}
