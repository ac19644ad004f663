//! What GitHub Actions shows of a run: annotations, which are commands in the log, and the step's summary, Markdown in
//! a file that `GITHUB_STEP_SUMMARY` names.
//!
//! The platform shows ten annotations of a kind for each step, and refuses a summary of more than 1 MiB.

use std::fmt::Write as _;

use crate::report::outcome::{Outcomes, ScenarioOutcome, Verdict};
use crate::report::summary::counts;

/// Most annotations of one step; the platform drops more.
pub const MOST_ANNOTATIONS: usize = 10;

/// Most bytes of a summary. The platform takes 1 MiB for a step, and other commands of the step may write as well.
pub const LONGEST_SUMMARY: usize = 256 * 1024;

/// Most bytes of one text in an annotation or the summary: the reports have it whole.
const LONGEST_TEXT: usize = 2000;

/// One `::error` line for each failure; when there are too many, the last line says how many more there are.
pub fn annotations(outcomes: &Outcomes) -> Vec<String> {
    let failed: Vec<(&ScenarioOutcome, String)> = outcomes
        .scenarios
        .iter()
        .filter_map(|outcome| match &outcome.verdict {
            Verdict::Failed { failure, rerun, .. } => {
                let again = outcome.again.as_ref().map(|again| format!("{again}\n")).unwrap_or_default();
                Some((outcome, format!("{again}{}\nrerun: {rerun}", cut(&failure.to_string()))))
            }
            Verdict::Passed | Verdict::Skipped { .. } => None,
        })
        .collect();
    let shown = if failed.len() > MOST_ANNOTATIONS { MOST_ANNOTATIONS - 1 } else { failed.len() };
    let mut lines: Vec<String> =
        failed[..shown].iter().map(|(outcome, text)| error(&outcome.title(), text)).collect();
    if shown < failed.len() {
        let more = format!(
            "{} more scenarios failed; the step's summary and report.json have them",
            failed.len() - shown
        );
        lines.push(error("more failures", &more));
    }
    lines
}

fn error(title: &str, text: &str) -> String {
    format!("::error title={}::{}", property(&format!("plexlab: {title}")), data(text))
}

/// As the platform's commands want the text after `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As the platform's commands want a property's value.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The step's summary: failures first, then all scenarios, at most [`LONGEST_SUMMARY`] bytes.
pub fn step_summary(outcomes: &Outcomes) -> String {
    let mut summary = Bounded::default();
    summary.add(&format!("## plexlab: {}\n\n", counts(outcomes)));
    let failed = outcomes.scenarios.iter().filter_map(failure);
    let mut left = failed.filter(|section| !summary.add(section)).count();
    summary.add("| verdict | scenario | seconds | note |\n|---|---|---:|---|\n");
    left += outcomes.scenarios.iter().map(row).filter(|row| !summary.add(row)).count();
    if left > 0 {
        summary.last(&format!("\n{left} more entries are in `report.json`.\n"));
    }
    summary.text
}

/// A text that takes no more than fits, whole pieces only, and keeps room for a last line.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    const ROOM: usize = 200;

    /// Whether it was taken. After the first that was not, none is: order would be lost.
    fn add(&mut self, piece: &str) -> bool {
        self.full = self.full || self.text.len() + piece.len() > LONGEST_SUMMARY - Self::ROOM;
        if !self.full {
            self.text.push_str(piece);
        }
        !self.full
    }

    fn last(&mut self, line: &str) {
        debug_assert!(line.len() <= Self::ROOM);
        self.text.push_str(line);
    }
}

fn failure(outcome: &ScenarioOutcome) -> Option<String> {
    let Verdict::Failed { failure, rerun, evidence } = &outcome.verdict else { return None };
    let mut text = format!("### {}\n\n", cell(&outcome.title()));
    let mut lines = String::new();
    let _ = writeln!(lines, "step      {}", failure.step);
    if let Some(expected) = &failure.expected {
        let _ = writeln!(lines, "expected  {}", cut(expected));
    }
    let _ = writeln!(lines, "seen      {}", cut(&failure.seen));
    if let Some(again) = &outcome.again {
        let _ = writeln!(lines, "again     {again}");
    }
    let _ = writeln!(lines, "rerun     {rerun}");
    if let Some(evidence) = evidence {
        let _ = writeln!(lines, "evidence  {evidence}");
    }
    // An indented block: nothing in it can end it, or be taken for markup.
    for line in lines.lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push('\n');
    Some(text)
}

fn row(outcome: &ScenarioOutcome) -> String {
    let again = outcome.again.as_ref().map(ToString::to_string).unwrap_or_default();
    let (word, note) = match &outcome.verdict {
        Verdict::Passed => ("passed", String::new()),
        Verdict::Failed { .. } => ("**FAILED**", again),
        Verdict::Skipped { reason } => ("skipped", reason.clone()),
    };
    format!("| {word} | {} | {:.2} | {} |\n", cell(&outcome.title()), outcome.seconds, cell(&cut(&note)))
}

/// Text within a line of Markdown or a cell of a table.
fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => shown.push(' '),
            '<' => shown.push_str("&lt;"),
            '&' => shown.push_str("&amp;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '@' => {
                shown.push('\\');
                shown.push(character);
            }
            other => shown.push(other),
        }
    }
    shown
}

/// The beginning of a long text.
fn cut(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let mut end = LONGEST_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes in all)", &text[..end], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use proptest::prelude::*;

    fn failures(count: usize, seen: &str) -> Outcomes {
        let scenarios = (0..count).map(|index| samples::failed(&format!("scenario-{index}"), seen)).collect();
        Outcomes { scenarios, seconds: 1.0 }
    }

    #[test]
    fn a_failure_is_annotated_in_one_line() {
        insta::assert_snapshot!(annotations(&failures(1, "100%:\r\n::error::two, three")).join("\n"), @r#"::error title=plexlab%3A scenario-0::in step "owner: look": expected one winner, seen 100%25:%0D%0A::error::two, three%0Arerun: cargo xtask run --scenario scenario-0"#);
    }

    #[test]
    fn ten_annotations_are_all_and_the_last_says_how_many_more_there_are() {
        assert_eq!(annotations(&failures(10, "two")).len(), MOST_ANNOTATIONS);
        let lines = annotations(&failures(12, "two"));
        assert_eq!(lines.len(), MOST_ANNOTATIONS);
        assert!(lines[9].contains("3 more scenarios failed"), "{}", lines[9]);
    }

    #[test]
    fn the_summary_has_failures_first() {
        insta::assert_snapshot!(step_summary(&samples::every_verdict()));
    }

    #[test]
    fn a_summary_of_very_many_failures_is_bounded_and_says_what_it_leaves_out() {
        let summary = step_summary(&failures(3000, &"ä long text\n".repeat(400)));
        assert!(summary.len() <= LONGEST_SUMMARY, "{}", summary.len());
        assert!(summary.len() > LONGEST_SUMMARY / 2, "{}", summary.len());
        assert!(summary.contains("more entries are in `report.json`"));
        assert!(summary.starts_with("## plexlab: 0 passed, 3000 failed, 0 skipped"), "{}", &summary[..80]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_line(seen in "[ -~\n\r|`<:%,]{0,60}") {
            let outcomes = failures(1, &seen);
            for line in annotations(&outcomes) {
                prop_assert!(!line.contains(['\n', '\r']));
                prop_assert_eq!(line.matches("::error title").count(), 1);
            }
            let mut skipped = outcomes;
            skipped.scenarios[0].verdict = Verdict::Skipped { reason: seen };
            let summary = step_summary(&skipped);
            let row = summary.lines().last().unwrap();
            prop_assert!(row.starts_with("| skipped |") && row.ends_with(" |"), "{}", row);
            prop_assert_eq!(row.replace("\\|", "").matches('|').count(), 5, "{}", row);
        }
    }
}
