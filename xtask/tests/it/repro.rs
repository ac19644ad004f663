//! `repro` of a run that failed.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::lab::{Lab, Outcome};
use crate::secrets::files;

/// A document that no exchange fits: with it a scenario fails at its end.
fn nothing_fits(lab: &Lab) -> Vec<(String, String)> {
    let document = lab.home().join("openapi.yaml");
    fs::write(&document, "openapi: 3.1.0\npaths: {}\n").unwrap();
    vec![("PLEXSPHERE_OPENAPI".to_owned(), document.display().to_string())]
}

fn run(lab: &Lab, variables: &[(String, String)], arguments: &[&str]) -> Outcome {
    Outcome::of(lab.command_with(variables, env!("CARGO_BIN_EXE_xtask"), arguments))
}

fn capsules(lab: &Lab) -> Vec<PathBuf> {
    files(&lab.reports()).into_iter().filter(|path| path.ends_with("capsule.json")).collect()
}

#[test]
fn a_failed_runs_capsule_is_played_again_and_told_from_what_fails_no_more() {
    let lab = Lab::new();
    let wrong = nothing_fits(&lab);
    let reports = lab.reports().display().to_string();
    let arguments = ["run", "--scenario", "adopt-via-eso", "--nodes", "1", "--reports", &reports];
    let failed = run(&lab, &wrong, &arguments);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    let capsule = capsules(&lab).pop().expect("a failed run leaves a capsule");
    let capsule = capsule.to_str().unwrap();

    let again = run(&lab, &wrong, &["repro", capsule, "--times", "2"]).expect_success("the same document");
    assert!(again.stdout.starts_with("reproduced: 2 of 2 fail as the capsule says\n"), "{again:#?}");
    assert!(again.stdout.contains("in step \"contract\""), "{again:#?}");
    assert!(!again.stdout.contains("environment differs"), "{again:#?}");

    let mended = run(&lab, &[], &["repro", capsule, "--times", "1", "-o", "json"]);
    assert_eq!(mended.code, Some(1), "{mended:#?}");
    let told: Value = serde_json::from_str(&mended.stdout).unwrap();
    assert_eq!(told["verdict"], "environment-differs", "{told:#}");
    assert_eq!(told["times"], 0, "{told:#}");
    assert_eq!(told["of"], 1, "{told:#}");
    let differs = told["environment_differs"].as_array().unwrap();
    assert_eq!(differs.len(), 1, "{told:#}");
    assert!(differs[0].as_str().unwrap().starts_with("PLEXSPHERE_OPENAPI: "), "{told:#}");

    let left = fs::read_dir(lab.state().join("stacks")).unwrap().count();
    assert_eq!(left, 0, "stacks of plays are gone");
}

#[test]
fn a_strangers_capsule_of_a_run_is_refused_when_it_asks_for_what_is_not_there() {
    let lab = Lab::new();
    let file = lab.home().join("capsule.json");
    let capsule = |scenario: &str, nodes: u32, more: &str| {
        format!(
            r#"{{"kind": "scenario-run", "form": 1, "versions": {{}}, "digests": {{}}, "scenario": "{scenario}",
                "store": "vault", "nodes": {nodes}, "backend": "embedded", "images": {{}},
                "failure": {{"step": "", "expected": null, "seen": ""}}, "steps": [], "timeline": [], "logs": {{}},
                "objects": {{}}, "rows": {{}}, "command": "rm -rf /"{more}}}"#
        )
    };
    for (text, said) in [
        (capsule("../../etc", 1, ""), "which this tool does not have"),
        (capsule("adopt-via-eso", 101, ""), "at most 100 are played"),
        (capsule("adopt-via-eso", 1, r#", "run": "id""#), "is no capsule of a run"),
    ] {
        fs::write(&file, text).unwrap();
        let refused = lab.run(&["repro", file.to_str().unwrap()]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains(said), "{refused:#?}");
    }
    assert!(!lab.state().exists(), "nothing was made");
}
