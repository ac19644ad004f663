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
    let repetition = if outcome.repetition > 1 { format!(" #{}", outcome.repetition) } else { String::new() };
    let name = format!("{}{repetition}", outcome.scenario);
    match &outcome.verdict {
        Verdict::Skipped { reason } => format!("{word:>8}  {name:<36}  {reason}"),
        _ => format!(
            "{word:>8}  {name:<36}  {:>7.2} s  (stack {:.2} s)",
            outcome.seconds, outcome.stack_seconds
        ),
    }
}

/// The end of the summary: each failure with its step, what was seen and the command that reruns it; then the
/// counts as the last line.
pub fn end(outcomes: &Outcomes) -> String {
    let mut text = String::new();
    for outcome in &outcomes.scenarios {
        if let Verdict::Failed { failure, rerun, evidence } = &outcome.verdict {
            let _ = writeln!(text, "\n{} failed in step \"{}\"", outcome.scenario, failure.step);
            if let Some(expected) = &failure.expected {
                let _ = writeln!(text, "  expected  {expected}");
            }
            let _ = writeln!(text, "  seen      {}", failure.seen.replace('\n', "\n            "));
            let _ = writeln!(text, "  rerun     {rerun}");
            if let Some(evidence) = evidence {
                let _ = writeln!(text, "  evidence  {evidence}");
            }
        }
    }
    let _ = write!(
        text,
        "\n{} passed, {} failed, {} skipped",
        outcomes.passed(),
        outcomes.failed(),
        outcomes.skipped()
    );
    text
}
