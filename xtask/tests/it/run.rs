//! `run` as CI uses it: several at once, shards, flakes told from what is broken, reports for programs.

use std::fs;
use std::time::Duration;

use plexlab_lab::{Check, eventually};
use serde_json::Value;

use crate::killed::{belongs_to, processes};
use crate::lab::{Lab, Outcome};

/// How long children may take to end after their parent was killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

fn report(lab: &Lab) -> Value {
    serde_json::from_str(&fs::read_to_string(lab.reports().join("report.json")).unwrap()).unwrap()
}

/// Holds the report against the published schema.
fn valid_report(lab: &Lab) -> Value {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../harness/src/report/report.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let report = report(lab);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&report).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    report
}

fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let scenarios = report["scenarios"].as_array().unwrap().iter();
    scenarios.map(|one| (one["scenario"].as_str().unwrap(), one["verdict"].as_str().unwrap())).collect()
}

fn run(lab: &Lab, variables: &[(&str, String)], arguments: &[&str]) -> Outcome {
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let reports = lab.reports().display().to_string();
    let all: Vec<&str> =
        ["run", "--reports", &reports].into_iter().chain(arguments.iter().copied()).collect();
    Outcome::of(lab.command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &all))
}

/// A document that no exchange fits: with it each scenario fails at its end.
fn nothing_fits(lab: &Lab) -> (&'static str, String) {
    let document = lab.home().join("openapi.yaml");
    fs::write(&document, "openapi: 3.1.0\npaths: {}\n").unwrap();
    ("PLEXSPHERE_OPENAPI", document.display().to_string())
}

#[test]
fn scenarios_played_at_once_are_reported_in_the_registrys_order() {
    let lab = Lab::new();
    let arguments = ["--scenario", "adopt-via-eso", "--scenario", "adopt-via-eso-wrong-kind", "--jobs", "2"];
    let outcome = run(&lab, &[], &arguments).expect_success("run");
    let report = valid_report(&lab);
    let expected = [("adopt-via-eso", "passed"), ("adopt-via-eso-wrong-kind", "passed")];
    assert_eq!(verdicts(&report), expected);
    // Each was played by a process of its own, with steps and a timeline that came over.
    for scenario in report["scenarios"].as_array().unwrap() {
        assert!(!scenario["steps"].as_array().unwrap().is_empty(), "{scenario}");
        assert!(scenario["timeline"].as_array().unwrap().len() > 10, "{scenario}");
    }
    assert!(outcome.stdout.ends_with("\n2 passed, 0 failed, 0 skipped\n"), "{outcome:#?}");
    assert_eq!(processes(&lab).len(), 0);
    assert_eq!(fs::read_dir(lab.state().join("stacks")).unwrap().count(), 0);
}

#[test]
fn after_a_failure_nothing_more_begins_and_github_is_told() {
    let lab = Lab::new();
    let step_summary = lab.home().join("step-summary.md");
    fs::write(&step_summary, "what another command wrote\n").unwrap();
    let variables = [
        nothing_fits(&lab),
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("GITHUB_STEP_SUMMARY", step_summary.display().to_string()),
    ];
    let chosen = [
        "--scenario",
        "adopt-via-eso",
        "--scenario",
        "provision-resource",
        "--scenario",
        "two-party-approval",
    ];
    let how = ["--shard", "1/2", "--fail-fast", "--rerun-failed", "1"];
    let arguments: Vec<&str> = chosen.into_iter().chain(how).collect();
    let outcome = run(&lab, &variables, &arguments);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let report = valid_report(&lab);
    let verdicts = verdicts(&report);
    assert_eq!(verdicts.len(), 2, "half of three, rounded up: {verdicts:?}");
    assert_eq!((verdicts[0].1, verdicts[1].1), ("failed", "skipped"));
    assert!(report["scenarios"][1]["reason"].as_str().unwrap().contains("--fail-fast"), "{report:#}");
    assert_eq!(report["scenarios"][0]["again"]["verdict"], "failed each time");

    let annotations: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.starts_with("::error title=")).collect();
    assert_eq!(annotations.len(), 1, "{outcome:#?}");
    let summary = fs::read_to_string(&step_summary).unwrap();
    assert!(
        summary.starts_with("what another command wrote\n## plexlab: 0 passed, 1 failed, 1 skipped\n"),
        "{summary}"
    );
    for text in [outcome.stderr.as_str(), &outcome.stdout, &summary] {
        for shape in ["psb_prod_", "psk_dev_", "nsk_plexd_", "hvs.", "eyJhbGciOi", "PRIVATE KEY"] {
            assert!(!text.contains(shape), "a credential of the shape {shape}");
        }
    }
}

#[tokio::test]
async fn a_killed_run_takes_its_children_along_and_gc_removes_what_they_left() {
    let lab = Lab::new();
    let users_kubeconfig = lab.home().join(".kube/config");
    fs::create_dir(lab.home().join(".kube")).unwrap();
    fs::write(&users_kubeconfig, "the user's own\n").unwrap();
    lab.run(&["up", "--name", "living", "--nodes", "1", "--port", "0"]).expect_success("up");
    let living = processes(&lab);

    let arguments = ["run", "--jobs", "2", "--reports", &lab.reports().display().to_string()];
    let killed = lab.xtask(&arguments).stdout_null().stderr_null().start().unwrap();
    let stacks = lab.state().join("stacks");
    let runs = || {
        fs::read_dir(&stacks)
            .unwrap()
            .filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("run-"))
            })
            .count()
    };
    eventually("two stacks to be coming up", Duration::from_secs(30), || async {
        if runs() == 2 { Check::Done(()) } else { Check::NotYet(format!("{} there", runs())) }
    })
    .await
    .unwrap();
    killed.kill().unwrap();
    eventually("the children of a killed run to be gone", GONE_WITHIN, || async {
        let left: Vec<String> =
            processes(&lab).into_iter().filter(|process| !belongs_to(process, &living)).collect();
        if left.is_empty() { Check::Done(()) } else { Check::NotYet(format!("{left:?}")) }
    })
    .await
    .unwrap();

    // A process that is ending has neither arguments nor environment any more, but its lock.
    eventually("both stacks to be dead", GONE_WITHIN, || async {
        let shown = lab.run(&["gc", "--dry-run"]).expect_success("gc --dry-run").stdout;
        let both = shown.matches("would remove  dead stack run-").count() == 2;
        if both { Check::Done(()) } else { Check::NotYet(shown) }
    })
    .await
    .unwrap();
    assert_eq!(runs(), 2, "a dry run removes nothing");
    let gone = lab.run(&["gc"]).expect_success("gc").stdout;
    assert_eq!(gone.matches("removed  dead stack run-").count(), 2, "{gone}");
    assert_eq!(runs(), 0);
    let nothing = lab.run(&["gc"]).expect_success("gc");
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("nothing is left over"), "{nothing:#?}");
    let status = lab.run(&["status"]).expect_success("status").stdout;
    assert!(status.contains("living") && status.contains("running"), "{status}");
    assert_eq!(fs::read_to_string(&users_kubeconfig).unwrap(), "the user's own\n");
}

#[tokio::test]
async fn an_interrupted_run_takes_all_its_stacks_down_and_reports_what_ended() {
    let lab = Lab::new();
    let arguments = ["run", "--jobs", "2", "--reports", &lab.reports().display().to_string()];
    let interrupted = lab.xtask(&arguments).stdout_null().stderr_null().start().unwrap();
    let stacks = lab.state().join("stacks");
    eventually("two stacks to be coming up", Duration::from_secs(30), || async {
        let there = fs::read_dir(&stacks).map(Iterator::count).unwrap_or_default();
        if there == 2 { Check::Done(()) } else { Check::NotYet(format!("{there} there")) }
    })
    .await
    .unwrap();
    let pid = interrupted.pids()[0].to_string();
    Outcome::of(lab.command("kill", &["-INT", &pid])).expect_success("kill -INT");
    let ended = interrupted.wait().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(processes(&lab).len(), 0);
    assert_eq!(fs::read_dir(&stacks).unwrap().count(), 0);
    valid_report(&lab);
}
