//! Tables and JSON on standard output.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::{OrFail as _, Outcome};

/// Form of what a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Prints text as it is. A closed pipe is a reader who has seen enough.
pub fn print(text: &str) {
    let _closed = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a value as JSON.
pub fn json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).or_bug("the answer is not JSON")?;
    print(&format!("{text}\n"));
    Ok(())
}

/// Rows under headings, columns as wide as their widest cell, nothing behind the last.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let headings: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["storage".to_owned(), "7".to_owned()], vec!["é".to_owned(), "123".to_owned()]];
        assert_eq!(table(&["role", "pid"], &rows), "ROLE     PID\nstorage  7\né        123\n");
    }
}
