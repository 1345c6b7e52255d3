//! What a child said last, for people.

use alys_cluster::ActorError;

use crate::actor::SupervisorActor;
use crate::core::exit::{self, Ending};

impl SupervisorActor {
    fn last_lines(&self, name: &str) -> Vec<String> {
        self.children.as_ref().map(|children| children.last_lines(name)).unwrap_or_default()
    }

    /// Only of one that ended by itself: a killed one said nothing, and its lines may be of the life before.
    pub(crate) fn show_last_words(&self, name: &str) {
        if let Some(said) = last_error(&self.last_lines(name)) {
            self.plan.console.line(self.now(), &format!("{name} says: {}", without_class(&said)));
        }
    }

    /// Why `alys up` ends at once, with the child's own last words.
    pub(crate) fn hopeless(&self, name: &str, ending: Ending) -> ActorError {
        let words = self.last_lines(name);
        let said = last_error(&words).unwrap_or_else(|| words.join("\n"));
        let text = format!("{name} cannot start: {}", without_class(&said));
        match ending {
            Ending::Code(exit::CONFIGURATION | exit::USAGE) => ActorError::Configuration(text),
            _ => ActorError::Broken(text),
        }
    }
}

/// What the last line `ended` of a JSON log says, else its last error; `None` when the lines are no such log. Libraries
/// complain after that line, while they are torn down.
pub(crate) fn last_error(lines: &[String]) -> Option<String> {
    let parsed = lines.iter().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let errors: Vec<_> = parsed.filter(|line| line["level"] == "ERROR").collect();
    let error = errors.iter().find(|line| line["message"] == "ended").or(errors.first())?;
    error["error"].as_str().or_else(|| error["message"].as_str()).map(str::to_owned)
}

/// A child's error without the class that its exit code has told.
pub(crate) fn without_class(text: &str) -> &str {
    let classes = ["error: ", "configuration: ", "broken: ", "temporary: ", "network: ", "wedged: "];
    classes.into_iter().find_map(|class| text.strip_prefix(class)).unwrap_or(text)
}

/// An error with its causes.
pub(crate) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_error_and_not_its_json() {
        let ended = r#"{"level":"ERROR","message":"ended","error":"configuration: port taken"}"#;
        let late = r#"{"level":"ERROR","message":"a library was torn down"}"#;
        let said = |lines: &[&str]| last_error(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(&[ended, late, "{}"]).as_deref().map(without_class), Some("port taken"));
        assert_eq!(said(&["plain words", late]).as_deref(), Some("a library was torn down"));
        assert_eq!(said(&[r#"{"level":"INFO","message":"bye"}"#, "plain words"]), None);
    }
}
