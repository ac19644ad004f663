//! The JSON report: outcomes with their steps and timelines.

use serde_json::{Value, json};

use crate::machine::description::Machine;
use crate::report::outcome::Outcomes;

/// The report as JSON: `{"machine", "passed", "failed", "skipped", "seconds", "scenarios": […]}`; a scenario has its
/// verdict, steps and `timeline` (entries in order of time).
pub fn render(outcomes: &Outcomes, machine: &Machine) -> Value {
    let scenarios: Vec<Value> = outcomes
        .scenarios
        .iter()
        .map(|outcome| {
            let mut value = serde_json::to_value(outcome).unwrap_or_default();
            value["timeline"] = serde_json::to_value(&outcome.timeline).unwrap_or_default();
            value
        })
        .collect();
    json!({
        "machine": machine,
        "passed": outcomes.passed(),
        "failed": outcomes.failed(),
        "skipped": outcomes.skipped(),
        "seconds": outcomes.seconds,
        "scenarios": scenarios,
    })
}
