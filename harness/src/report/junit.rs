//! The JUnit report, as CI systems read it.

use std::time::Duration;

use quick_junit::{FlakyOrRerun, NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use crate::report::outcome::{Again, Outcomes, ScenarioOutcome, Verdict};

/// The `type` of every failure: Surefire's schema asks for one.
const FAILURE: &str = "claim";

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
    Ok(without_skipped(report.to_string()?))
}

/// The root element has no count of skipped cases in the schema that Jenkins' readers hold reports against.
fn without_skipped(xml: String) -> String {
    let Some(root) = xml.find("<testsuites") else { return xml };
    let end = xml[root..].find('>').map_or(xml.len(), |end| root + end);
    let attribute = " skipped=\"";
    let Some(start) = xml[root..end].find(attribute).map(|at| root + at) else { return xml };
    let value = start + attribute.len();
    let Some(after) = xml[value..end].find('"').map(|at| value + at + 1) else { return xml };
    format!("{}{}", &xml[..start], &xml[after..])
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
            status.set_type(FAILURE);
            let again = outcome.again.as_ref();
            let flaky = again.map(|again| format!("{again}; ")).unwrap_or_default();
            status.set_message(format!("{flaky}{failure}"));
            status.set_description(format!("{flaky}{failure}\nrerun: {rerun}"));
            if again.is_some_and(Again::flaky) {
                status.set_rerun_kind(FlakyOrRerun::Flaky);
            }
            status.add_reruns(again.into_iter().flat_map(|again| &again.failures).map(|failure| {
                let mut run = TestRerun::new(NonSuccessKind::Failure);
                run.set_type(FAILURE).set_message(failure.to_string());
                run
            }));
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
    use crate::report::samples;

    #[test]
    fn passes_failures_flakes_and_skips_are_told_apart() {
        insta::assert_snapshot!(render(&samples::every_verdict()).unwrap());
    }

    /// What may be inside what, and what must be there, in the schema that Jenkins' plugin and Surefire publish.
    #[test]
    fn the_report_has_the_shape_that_readers_of_junit_know() {
        let children = |element: &str| -> &[&str] {
            match element {
                "testsuites" => &["testsuite"],
                "testsuite" => &["properties", "testcase", "system-out", "system-err"],
                "testcase" => &[
                    "skipped",
                    "error",
                    "failure",
                    "rerunFailure",
                    "rerunError",
                    "flakyFailure",
                    "flakyError",
                    "system-out",
                    "system-err",
                ],
                _ => &[],
            }
        };
        let attributes = |element: &str| -> (&[&str], &[&str]) {
            match element {
                "testsuites" => (&[], &["name", "time", "tests", "failures", "errors", "disabled"]),
                "testsuite" => (
                    &["name", "tests"],
                    &["failures", "errors", "time", "disabled", "skipped", "timestamp", "id"],
                ),
                "testcase" => (&["name", "classname", "time"], &["assertions", "status", "timestamp"]),
                "skipped" => (&[], &["message", "type"]),
                "failure" | "rerunFailure" | "flakyFailure" => (&["type"], &["message"]),
                _ => (&[], &[]),
            }
        };
        let xml = render(&samples::every_verdict()).unwrap();
        let tag = regex::Regex::new(r#"<(/?)([a-zA-Z-]+)((?: [a-z]+="[^"]*")*)(/?)>"#).unwrap();
        let attribute = regex::Regex::new(r#" ([a-z]+)=""#).unwrap();
        let (mut open, mut seen): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for found in tag.captures_iter(&xml) {
            let name = found[2].to_owned();
            if &found[1] == "/" {
                assert_eq!(open.pop().as_deref(), Some(name.as_str()));
                continue;
            }
            if let Some(parent) = open.last() {
                assert!(children(parent).contains(&name.as_str()), "{name} in {parent}");
            }
            let present: Vec<&str> = attribute
                .captures_iter(found.get(3).unwrap().as_str())
                .map(|found| found.get(1).unwrap().as_str())
                .collect();
            let (needed, allowed) = attributes(&name);
            for needed in needed {
                assert!(present.contains(needed), "{name} without {needed}");
            }
            for present in &present {
                assert!(needed.contains(present) || allowed.contains(present), "{name} with {present}");
            }
            seen.push(name.clone());
            if &found[4] != "/" {
                open.push(name);
            }
        }
        assert!(open.is_empty());
        for element in ["testcase", "failure", "flakyFailure", "skipped", "system-out"] {
            assert!(seen.iter().any(|name| name == element), "no {element} in {xml}");
        }
        // Verdicts come before outputs, which some readers insist on.
        for case in xml.split("<testcase").skip(1) {
            let at = |what: &str| case.find(what);
            for verdict in ["<failure", "<flakyFailure", "<skipped"] {
                if let (Some(verdict), Some(output)) = (at(verdict), at("<system-out")) {
                    assert!(verdict < output, "{case}");
                }
            }
        }
    }
}
