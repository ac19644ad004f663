//! The JSON report: outcomes with their steps and timelines, as `report.schema.json` beside this file says.

use serde_json::{Value, json};

use crate::machine::description::Machine;
use crate::report::outcome::{Again, Outcomes};

/// Version of the report's shape: it grows when something that was there means something else, or is gone.
pub const VERSION: u32 = 1;

/// The published JSON Schema of the report.
pub const SCHEMA: &str = include_str!("report.schema.json");

/// The `$id` of [`SCHEMA`], which a report carries as `$schema`.
pub const SCHEMA_ID: &str = "https://plexlab.dev/schemas/report-1.json";

/// The report as JSON. Scenarios are in the registry's order, a scenario's `timeline` in order of time.
pub fn render(outcomes: &Outcomes, machine: &Machine) -> Value {
    let scenarios: Vec<Value> = outcomes
        .scenarios
        .iter()
        .map(|outcome| {
            let mut value = serde_json::to_value(outcome).unwrap_or_default();
            if let Some(again) = &outcome.again {
                value["again"] = rendered(again);
            }
            value
        })
        .collect();
    json!({
        "$schema": SCHEMA_ID,
        "version": VERSION,
        "machine": machine,
        "passed": outcomes.passed(),
        "failed": outcomes.failed(),
        "flaky": outcomes.flaky(),
        "skipped": outcomes.skipped(),
        "seconds": outcomes.seconds,
        "scenarios": scenarios,
    })
}

/// With the verdict, which a reader should not have to work out.
fn rendered(again: &Again) -> Value {
    json!({
        "verdict": if again.flaky() { "flaky" } else { "failed each time" },
        "played": again.played(),
        "passed": again.passed,
        "failures": again.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_report_of_every_verdict_is_as_the_schema_says() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        assert_eq!(schema["$id"], SCHEMA_ID);
        assert_eq!(schema["properties"]["version"]["const"], VERSION);
        let validator = jsonschema::validator_for(&schema).unwrap();
        let report = render(&samples::every_verdict(), &Machine::read());
        let errors: Vec<String> = validator
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{report:#}");
    }

    #[test]
    fn the_schema_refuses_what_is_no_report() {
        let validator = jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let report = render(&samples::every_verdict(), &Machine::read());
        let mut changed = report.clone();
        changed["version"] = json!(2);
        assert!(!validator.is_valid(&changed));
        let mut changed = report.clone();
        changed["scenarios"][1].as_object_mut().unwrap().remove("failure");
        assert!(!validator.is_valid(&changed), "a failed scenario has a failure");
        let mut changed = report.clone();
        changed["scenarios"][0]["again"] = report["scenarios"][2]["again"].clone();
        assert!(!validator.is_valid(&changed), "only a failed scenario is played again");
        let mut changed = report;
        changed["surprise"] = json!(true);
        assert!(!validator.is_valid(&changed));
    }
}
