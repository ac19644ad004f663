//! The conformance suite as a command: what it says about the stand-in, about manifests alone, and about mutants.

use std::collections::BTreeSet;
use std::fs;

use plexlab_plexd::behaviour::Behaviour;
use plexlab_scenarios::plexd_kubernetes::manifests;
use plexlab_scenarios::plexd_kubernetes::statements::STATEMENTS;
use serde_json::Value;

use crate::lab::Lab;

#[test]
fn the_stand_in_holds_to_every_statement_that_can_be_tried() {
    let lab = Lab::new();
    let reports = lab.reports();
    let outcome = lab.run(&["conformance", "plexd", "--reports", reports.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stdout);
    let json = fs::read_to_string(reports.join("conformance.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let statements = json["statements"].as_array().unwrap();
    assert!(statements.len() >= 140, "{}", statements.len());
    let skipped: Vec<_> =
        statements.iter().filter(|one| one["verdict"] == "skipped").map(|one| &one["id"]).collect();
    assert_eq!(skipped, ["validate.audit", "validate.token"]);
    let markdown = fs::read_to_string(reports.join("conformance.md")).unwrap();
    assert!(markdown.contains("| `state.name` |") && !markdown.contains("**FAIL**"), "{markdown}");
    let junit = fs::read_to_string(reports.join("conformance.xml")).unwrap();
    assert!(junit.contains("<testcase name=\"audit.truncated\" classname=\"K8sAuditLogReader\""), "{junit}");
}

#[test]
fn a_behaviour_that_is_missing_fails_with_its_evidence_and_command() {
    let lab = Lab::new();
    let reports = lab.reports();
    let arguments =
        ["conformance", "plexd", "--check", "daemonset.live", "--without", "liveness", "--reports"];
    let outcome = lab.run(&[&arguments[..], &[reports.to_str().unwrap()]].concat());
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let again = "again     cargo xtask conformance plexd --check daemonset.live --without liveness";
    assert!(
        outcome.stdout.contains("FAIL  daemonset.live") && outcome.stdout.contains(again),
        "{outcome:#?}"
    );
}

#[test]
fn manifests_are_judged_without_a_cluster_and_their_mutants_killed() {
    let lab = Lab::new();
    let arguments = ["conformance", "plexd", "--manifests-only", "--check", "rbac.jobs", "--check", "crd"];
    let outcome = lab.run(&arguments).expect_success("the manifests");
    assert!(outcome.stdout.contains("pass  rbac.jobs") && outcome.stdout.contains("pass  crd.short"));
    let outcome =
        lab.run(&["mutants", "--check", "crd", "--check", "volume"]).expect_success("their mutants");
    assert!(outcome.stdout.contains("21 of 21 mutants killed"), "{outcome:#?}");
    assert!(!lab.state().exists(), "no cluster was made");
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_what_can() {
    let lab = Lab::new();
    let refused = |arguments: &[&str], hint: &str| {
        let outcome = lab.run(&[&["conformance", "plexd"], arguments].concat());
        assert!(outcome.code == Some(2) && outcome.stderr.contains(hint), "{arguments:?}: {outcome:#?}");
    };
    refused(&["--check", "state.nam"], "there is `state.name`");
    refused(&["--image", "vault=bin:/bin/sh"], "plexd only");
    refused(&["--image", "plexd=url:http://x"], "stand-in and bin:PATH");
    let outcome = lab.run(&["mutants", "--shard", "3/2", "--check", "crd"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("1 <= K <= N"), "{outcome:#?}");
}

/// What follows from another failure is a failure of the command all the same, and an absence proves nothing of an agent
/// that is not there.
#[test]
fn a_failure_that_follows_from_another_fails_the_command_too() {
    let lab = Lab::new();
    let arguments = ["conformance", "plexd", "--check", "env.pod-name", "--check", "env.nil-outside"];
    let outcome = lab.run(&[&arguments[..], &["--without", "detect-cluster"]].concat());
    let follows = "FAIL  env.pod-name                  PodName: HOSTNAME (follows from env.in-cluster)";
    assert!(outcome.code == Some(1) && outcome.stdout.contains(follows), "{outcome:#?}");
    assert!(outcome.stdout.contains("(rests on env.in-cluster, which failed)"), "{outcome:#?}");
}

/// At least forty, each with a behaviour of the stand-in that is taken away nowhere else, or with a row of its own.
#[test]
fn mutants_are_of_behaviours_that_there_are() {
    let named: Vec<&str> = STATEMENTS.iter().filter_map(|statement| statement.mutant.ok()).collect();
    let all: BTreeSet<&str> = Behaviour::ALL.iter().map(|behaviour| behaviour.name()).collect();
    let unique: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(unique, all, "every behaviour has its statement, and the other way round");
    assert_eq!(unique.len(), named.len());
    assert!(named.len() >= 40 && manifests::rows().len() >= 40);
}
