//! Bad input gets a clear error, the right exit code, and loses nothing.

use std::os::unix::fs::PermissionsExt as _;

use crate::lab::{Lab, Outcome};

fn shown(outcome: &Outcome, lab: &Lab) -> String {
    let home = lab.home().parent().unwrap().display().to_string();
    format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        outcome.code.unwrap_or(-1),
        outcome.stdout.replace(&home, "<lab>"),
        outcome.stderr.replace(&home, "<lab>")
    )
}

macro_rules! snapshot {
    ($arguments:expr) => {{
        let lab = Lab::new();
        let outcome = lab.run($arguments);
        insta::assert_snapshot!(shown(&outcome, &lab));
    }};
}

#[test]
fn an_unknown_scenario_is_refused_with_a_suggestion() {
    snapshot!(&["run", "--scenario", "adopt-via-oes"]);
}

#[test]
fn an_unknown_image_source_is_refused_with_the_known_ones() {
    snapshot!(&["up", "--image", "plexd=podman:latest"]);
}

#[test]
fn an_image_that_is_no_program_is_refused() {
    snapshot!(&["run", "--image", "plexd=bin:/no/such/plexd"]);
}

#[test]
fn a_file_that_holds_no_definitions_is_refused() {
    let lab = Lab::new();
    let file = lab.home().join("values.yaml");
    std::fs::write(&file, "kind: ConfigMap\n").unwrap();
    let outcome = lab.run(&["up", "--crds", &file.display().to_string()]);
    insta::assert_snapshot!(shown(&outcome, &lab));
}

#[test]
fn a_registry_image_is_refused_by_the_embedded_backend() {
    snapshot!(&["up", "--image", "plexd=image:example.com/plexd:1"]);
}

#[test]
fn an_unknown_backend_is_refused() {
    snapshot!(&["up", "--backend", "kindd"]);
}

#[test]
fn a_name_that_could_leave_the_directory_is_refused() {
    snapshot!(&["up", "--name", "../escape"]);
}

#[test]
fn down_with_nothing_up_succeeds() {
    snapshot!(&["down"]);
}

#[test]
fn status_with_nothing_up_says_so() {
    snapshot!(&["status"]);
}

#[test]
fn a_stack_that_does_not_run_has_no_ids() {
    snapshot!(&["ids", "--name", "ghost"]);
}

#[test]
fn an_unknown_component_has_no_logs() {
    snapshot!(&["logs", "controlplane"]);
}

#[test]
fn an_unknown_measurement_is_refused() {
    snapshot!(&["bench", "memroy"]);
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let lab = Lab::new();
    std::fs::write(lab.state(), "a file where a directory should be").unwrap();
    let outcome = lab.run(&["up"]);
    insta::assert_snapshot!(shown(&outcome, &lab));
    assert!(lab.state().is_file(), "the user's file is still there");
}

/// The download goes through a proxy at a port of loopback where nobody listens.
#[test]
fn without_postgres_and_without_network_a_stack_says_what_is_missing() {
    let lab = Lab::new();
    let nowhere = lab.home().join("nowhere").display().to_string();
    let variables = [
        ("PATH", nowhere.as_str()),
        ("PLEXLAB_POSTGRES", "download"),
        ("PLEXLAB_CACHE", &nowhere),
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let up = ["up", "--name", "dry", "--port", "0"];
    let outcome = Outcome::of(lab.command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &up));
    insta::assert_snapshot!(shown(&outcome, &lab));
    let left: Vec<_> = std::fs::read_dir(lab.state().join("stacks")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn chosen_postgres_programs_that_are_not_there_are_named() {
    let lab = Lab::new();
    let variables = [("PLEXLAB_POSTGRES".to_owned(), "/no/such/directory".to_owned())];
    let up = ["up", "--port", "0"];
    let outcome = Outcome::of(lab.command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &up));
    insta::assert_snapshot!(shown(&outcome, &lab));
}

#[test]
fn a_dry_run_prints_the_plan_and_makes_nothing() {
    let lab = Lab::new();
    let outcome = lab.run(&["up", "--dry-run", "--nodes", "2"]).expect_success("dry run");
    insta::assert_snapshot!(outcome.stdout);
    assert!(!lab.state().exists());
}

#[test]
fn a_dry_run_on_envtest_needs_no_real_programs() {
    let lab = Lab::new();
    let outcome =
        lab.run(&["up", "--dry-run", "--nodes", "2", "--backend", "envtest"]).expect_success("dry run");
    insta::assert_snapshot!(outcome.stdout);
    assert!(!lab.state().exists());
}

#[test]
fn a_dry_run_with_a_program_for_the_agent_shows_it() {
    let lab = Lab::new();
    let program = lab.home().join("plexd");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let image = format!("plexd=bin:{}", program.display());
    let outcome = lab.run(&["up", "--dry-run", "--nodes", "1", "--image", &image]);
    insta::assert_snapshot!(shown(&outcome.expect_success("dry run"), &lab));
}

#[test]
fn envtest_without_real_programs_says_what_to_set() {
    snapshot!(&["up", "--backend", "envtest"]);
}

#[test]
fn an_unknown_snapshot_is_refused() {
    snapshot!(&["snapshot", "restore", "ghost"]);
}

#[test]
fn a_stack_that_does_not_run_cannot_be_forked() {
    snapshot!(&["fork", "--of", "ghost"]);
}

#[test]
fn every_scenario_is_listed_for_people_and_for_programs() {
    let lab = Lab::new();
    let text = lab.run(&["list"]).expect_success("list").stdout;
    let json = lab.run(&["list", "-o", "json"]).expect_success("list").stdout;
    let scenarios: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(text.lines().count(), scenarios.len());
    for scenario in scenarios {
        assert!(text.contains(scenario["name"].as_str().unwrap()));
    }
}

#[test]
fn contract_prints_the_table_of_drift_and_with_the_document_what_is_served() {
    let lab = Lab::new();
    let outcome = lab.run(&["contract"]);
    assert_eq!(outcome.code, Some(0), "{}", shown(&outcome, &lab));
    assert!(outcome.stdout.starts_with("C1   name of the handle in a registration\n"), "{}", outcome.stdout);
    assert_eq!(outcome.stdout.matches("\n      here: ").count(), 43);
    assert!(outcome.stderr.contains("PLEXSPHERE_OPENAPI"), "{}", outcome.stderr);

    let document = lab.home().join("openapi.yaml");
    let text = "openapi: 3.1.0\npaths: {/v1/health: {get: {operationId: GetHealth, responses: {}}}}\n";
    std::fs::write(&document, text).unwrap();
    let variables = [("PLEXSPHERE_OPENAPI".to_owned(), document.display().to_string())];
    let output = lab
        .command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &["contract", "-o", "json"])
        .stdout_capture()
        .run()
        .unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["drift"].as_array().map(Vec::len), Some(43));
    assert_eq!(printed["coverage"]["served"], serde_json::json!(["GetHealth"]));
    std::fs::write(&document, "openapi: 2.0").unwrap();
    let refused = lab
        .command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &["contract"])
        .stdout_capture()
        .stderr_capture()
        .run()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
}
