//! Outcomes of every kind, for the tests of the reports.

use crate::report::outcome::{Again, Outcomes, ScenarioOutcome, Verdict};
use crate::run::{Failure, StepRecord};
use crate::timeline::{Source, Timeline};

/// One that passed, one that failed, one that is flaky, one that was skipped.
pub(crate) fn every_verdict() -> Outcomes {
    let skipped = outcome("c", Verdict::Skipped { reason: "needs a store".into() });
    let flaky = Again { passed: 2, failures: vec![Failure::expected("one winner", "none")] };
    let scenarios = vec![
        outcome("a", Verdict::Passed),
        ScenarioOutcome { again: None, ..failed("b", "two") },
        ScenarioOutcome { again: Some(flaky), ..failed("flaky", "two") },
        skipped,
    ];
    Outcomes { scenarios, seconds: 4.5 }
}

/// One that failed, with what was seen.
pub(crate) fn failed(scenario: &str, seen: &str) -> ScenarioOutcome {
    let failure = Failure { step: "owner: look".into(), ..Failure::expected("one winner", seen) };
    let rerun = format!("cargo xtask run --scenario {scenario}");
    outcome(scenario, Verdict::Failed { failure, rerun, evidence: None })
}

/// With one step and one entry in its timeline.
pub(crate) fn outcome(scenario: &str, verdict: Verdict) -> ScenarioOutcome {
    let timeline = Timeline::default();
    timeline.record(Source::Step, "owner", "look");
    ScenarioOutcome {
        scenario: scenario.into(),
        repetition: 1,
        verdict,
        seconds: 1.5,
        stack_seconds: 0.5,
        steps: vec![StepRecord { party: "owner".into(), name: "look".into(), seconds: 0.25, passed: true }],
        again: None,
        timeline: timeline.entries(),
    }
}
