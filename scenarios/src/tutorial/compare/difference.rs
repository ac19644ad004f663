//! One output block against what came out. Pure.

use similar::{ChangeTag, TextDiff};

use super::shape::{Bindings, matches};
use super::{json, phases};
use crate::tutorial::document::Expected;

/// Lines of a difference at most; the rest is counted.
const LONGEST: usize = 40;

/// What came out is not what the document shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Line of the document where the output block begins.
    pub line: usize,
    /// What is wrong, each in a sentence.
    pub reasons: Vec<String>,
    /// Both texts side by side, with the document's line numbers: ` ` same, `-` only in the document, `+` only
    /// in the output.
    pub diff: String,
}

/// Compares. White space at the ends of lines and empty lines at the end do not count.
///
/// # Errors
/// The [`Difference`].
pub fn compare(expected: &Expected, actual: &str, bindings: &mut Bindings) -> Result<(), Difference> {
    let (shown, actual) = (trimmed(&expected.text), trimmed(actual));
    let reasons = if expected.language == "json" {
        json::differences(&shown, &actual, bindings)
    } else if let Some(phases) = phases::phases(&shown) {
        phases::differences(&phases, &actual)
    } else {
        lines(&shown, &actual, expected.line, bindings)
    };
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Difference { line: expected.line, reasons, diff: diff(&shown, &actual, expected.line) })
}

fn lines(expected: &str, actual: &str, first: usize, bindings: &mut Bindings) -> Vec<String> {
    let (shown, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let mut reasons: Vec<String> = shown
        .iter()
        .zip(&found)
        .enumerate()
        .filter_map(|(index, (shown, found))| {
            matches(shown, found, bindings).err().map(|why| format!("line {}: {why}", first + index))
        })
        .collect();
    if shown.len() != found.len() {
        reasons.push(format!("expected {} lines, found {}", shown.len(), found.len()));
    }
    reasons
}

fn diff(expected: &str, actual: &str, first: usize) -> String {
    // A last line without a newline would differ from the same line within a text.
    let (expected, actual) = (format!("{expected}\n"), format!("{actual}\n"));
    let diff = TextDiff::from_lines(&expected, &actual);
    let changes: Vec<_> = diff.iter_all_changes().collect();
    let mut text = String::new();
    for change in changes.iter().take(LONGEST) {
        let (mark, number) = match change.tag() {
            ChangeTag::Equal => (' ', change.old_index()),
            ChangeTag::Delete => ('-', change.old_index()),
            ChangeTag::Insert => ('+', None),
        };
        let number = number.map(|index| (first + index).to_string()).unwrap_or_default();
        text.push_str(&format!("{number:>5} {mark} {}\n", change.value().trim_end_matches('\n')));
    }
    if changes.len() > LONGEST {
        text.push_str(&format!("      \u{2026} and {} more lines\n", changes.len() - LONGEST));
    }
    text
}

fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(language: &str, expected: &str, actual: &str) -> Result<(), Difference> {
        let expected = Expected { line: 100, language: language.into(), text: expected.into() };
        compare(&expected, actual, &mut Bindings::default())
    }

    #[test]
    fn the_shape_decides() {
        let id = "019ed553-bf6c-7289-9dcb-4fb9917409b9";
        assert_eq!(check("text", id, "01a00000-0000-7000-8000-000000000001  \n\n"), Ok(()));
        assert_eq!(check("json", "{\n  \"a\": 1\n}", "{\"a\":1}\n"), Ok(()));
        assert_eq!(check("text", "14:31:02 Pending\n14:31:12 Ready", "10:00:00 Ready\n"), Ok(()));
        assert_eq!(
            check("text", "14:31:02 Pending\n14:31:12 Ready", "10:00:00 Failed\n").unwrap_err().line,
            100
        );
    }

    #[test]
    fn a_difference_has_the_documents_line_numbers() {
        let difference = check("text", "one\ntwo\nthree", "one\n2\nthree\nfour").unwrap_err();
        insta::assert_snapshot!(
            format!("{}\n{}", difference.reasons.join("\n"), difference.diff),
            @r#"
        line 101: expected "two", found "2"
        expected 3 lines, found 4
          100   one
          101 - two
              + 2
          102   three
              + four
        "#
        );
        let difference =
            check("json", "{\n  \"slug\": \"demo-cloud\"\n}", "{\n  \"slug\": \"other\"\n}").unwrap_err();
        insta::assert_snapshot!(
            format!("{}\n{}", difference.reasons.join("\n"), difference.diff),
            @r#"
        $.slug: expected "demo-cloud", found "other"
          100   {
          101 -   "slug": "demo-cloud"
              +   "slug": "other"
          102   }
        "#
        );
    }

    #[test]
    fn a_long_output_is_cut() {
        let long: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert!(check("text", "x", &long).unwrap_err().diff.contains("more lines"));
    }
}
