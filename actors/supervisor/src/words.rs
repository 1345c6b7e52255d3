//! What a child said last, for people.

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
