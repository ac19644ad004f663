//! The JUnit report, as CI systems read it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::report::outcome::{Outcomes, ScenarioOutcome, Verdict};

/// Renders the report; one test case per run of a scenario, its steps as the case's output.
///
/// # Errors
/// When the XML cannot be written.
pub fn render(outcomes: &Outcomes) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("scenarios");
    for outcome in &outcomes.scenarios {
        suite.add_test_case(case(outcome, repeated(outcomes, &outcome.scenario)));
    }
    let mut report = Report::new("plexlab");
    report.set_time(Duration::from_secs_f64(outcomes.seconds.max(0.0)));
    report.add_test_suite(suite);
    report.to_string()
}

fn repeated(outcomes: &Outcomes, scenario: &str) -> bool {
    outcomes.scenarios.iter().filter(|outcome| outcome.scenario == scenario).count() > 1
}

fn case(outcome: &ScenarioOutcome, repeated: bool) -> TestCase {
    let status = match &outcome.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.clone());
            status
        }
        Verdict::Failed { failure, rerun, .. } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(failure.to_string());
            status.set_description(format!("{failure}\nrerun: {rerun}"));
            status
        }
    };
    let name = if repeated {
        format!("{} #{}", outcome.scenario, outcome.repetition)
    } else {
        outcome.scenario.clone()
    };
    let mut case = TestCase::new(name, status);
    case.set_classname("plexlab");
    case.set_time(Duration::from_secs_f64(outcome.seconds.max(0.0)));
    let steps: Vec<String> = outcome
        .steps
        .iter()
        .map(|step| format!("{:>8.3} s  {}: {}", step.seconds, step.party, step.name))
        .collect();
    case.set_system_out(steps.join("\n"));
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Failure;

    #[test]
    fn passes_failures_and_skips_are_told_apart() {
        let outcome = |scenario: &str, verdict| ScenarioOutcome {
            scenario: scenario.into(),
            repetition: 1,
            verdict,
            seconds: 1.5,
            stack_seconds: 0.5,
            steps: Vec::new(),
            timeline: Vec::new(),
        };
        let failed = Verdict::Failed {
            failure: Failure::expected("one winner", "two"),
            rerun: "cargo xtask run --scenario b".into(),
            evidence: None,
        };
        let scenarios = vec![
            outcome("a", Verdict::Passed),
            outcome("b", failed),
            outcome("c", Verdict::Skipped { reason: "needs a store".into() }),
        ];
        insta::assert_snapshot!(render(&Outcomes { scenarios, seconds: 4.5 }).unwrap());
    }
}
