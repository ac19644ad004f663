//! The summary for people: one line per scenario, failures with what to do next.

use std::fmt::Write as _;

use crate::report::outcome::{Outcomes, ScenarioOutcome, Verdict};

/// One line for a scenario that ended: verdict, name, time.
pub fn line(outcome: &ScenarioOutcome) -> String {
    let word = match outcome.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed { .. } => "FAILED",
        Verdict::Skipped { .. } => "skipped",
    };
    let name = outcome.title();
    match &outcome.verdict {
        Verdict::Skipped { reason } => format!("{word:>8}  {name:<36}  {reason}"),
        _ => format!(
            "{word:>8}  {name:<36}  {:>7.2} s  (stack {:.2} s){}",
            outcome.seconds,
            outcome.stack_seconds,
            outcome.again.as_ref().map(|again| format!("  {again}")).unwrap_or_default()
        ),
    }
}

/// The end of the summary: each failure with its step, what was seen and the command that reruns it; then the
/// counts as the last line.
pub fn end(outcomes: &Outcomes) -> String {
    let mut text = String::new();
    for outcome in &outcomes.scenarios {
        if let Verdict::Failed { failure, rerun, evidence } = &outcome.verdict {
            let _ = writeln!(text, "\n{} failed in step \"{}\"", outcome.title(), failure.step);
            if let Some(expected) = &failure.expected {
                let _ = writeln!(text, "  expected  {expected}");
            }
            let _ = writeln!(text, "  seen      {}", failure.seen.replace('\n', "\n            "));
            if let Some(again) = &outcome.again {
                let _ = writeln!(text, "  again     {again}");
            }
            let _ = writeln!(text, "  rerun     {rerun}");
            if let Some(evidence) = evidence {
                let _ = writeln!(text, "  evidence  {evidence}");
            }
        }
    }
    let _ = write!(text, "\n{}", counts(outcomes));
    text
}

/// How many ended how, in one line.
pub fn counts(outcomes: &Outcomes) -> String {
    let flaky = match outcomes.flaky() {
        0 => String::new(),
        flaky => format!(" ({flaky} flaky)"),
    };
    format!(
        "{} passed, {} failed{flaky}, {} skipped",
        outcomes.passed(),
        outcomes.failed(),
        outcomes.skipped()
    )
}
