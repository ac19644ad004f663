//! `race --live`, `repro` and `timeline` with real processes.

use std::fs;

use serde_json::Value;

use crate::lab::Lab;

#[test]
fn a_right_control_plane_breaks_no_rule_at_its_gates_nor_in_a_crowd_and_leaves_nothing() {
    let lab = Lab::new();
    let reports = lab.reports();
    let reports = reports.to_str().unwrap();
    for (race, faults) in [("token-race", "2"), ("revocation-race", "1"), ("full-pool", "0")] {
        let arguments = [
            "race",
            race,
            "--live",
            "--faults",
            faults,
            "--schedules",
            "4",
            "--seed",
            "3",
            "--reports",
            reports,
        ];
        let outcome = lab.run(&arguments).expect_success(race);
        assert!(outcome.stdout.contains("break no rule"), "{}", outcome.stdout);
    }
    let crowd = ["race", "token-race", "--live", "--agents", "200", "--faults", "2", "--reports", reports];
    lab.run(&crowd).expect_success("a crowd");
    let left: Vec<_> =
        fs::read_dir(lab.state().join("bare")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "only the lock of the place for all is left");
}

#[test]
fn a_wrong_control_plane_leaves_a_capsule_that_replays_with_real_processes_and_holds_no_secret() {
    let lab = Lab::new();
    let reports = lab.reports();
    let arguments = [
        "race",
        "token-race",
        "--live",
        "--mutant",
        "check-then-act",
        "--reports",
        reports.to_str().unwrap(),
        "-o",
        "json",
    ];
    let outcome = lab.run(&arguments);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(found["failure"]["schedule"].as_array().unwrap().len() <= 6, "{found:#}");
    let capsule = found["failure"]["capsule"].as_str().unwrap();

    let text = fs::read_to_string(capsule).unwrap();
    for shape in ["psb_race_", "psk_dev_", "postgresql://", "$argon2"] {
        assert!(!text.contains(shape), "the capsule holds a credential of the shape {shape}");
    }
    let kept: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(kept["live"]["digests"]["control-plane"].as_str().unwrap().len(), 64);
    assert_eq!(kept["live"]["rows"]["bootstrap_tokens"].as_array().unwrap().len(), 1);
    assert!(!kept["live"]["logs"]["control-plane"].as_array().unwrap().is_empty());

    let replayed = lab.run(&["repro", capsule, "--times", "5"]).expect_success("repro");
    assert!(replayed.stdout.contains("reproduced with real processes: 5 of 5"), "{}", replayed.stdout);
    let told = lab.run(&["timeline", capsule]).expect_success("timeline");
    assert!(told.stdout.contains("one-winner"), "{}", told.stdout);
}

#[test]
fn a_disk_that_is_full_at_a_commit_costs_an_answer_and_nothing_else() {
    let lab = Lab::new();
    let reports = lab.reports();
    let arguments = [
        "race",
        "token-race",
        "--live",
        "--agents",
        "2",
        "--schedule",
        "agent 0, server 0.0, server 0.0, disk-full, server 0.0",
        "--reports",
        reports.to_str().unwrap(),
    ];
    lab.run(&arguments).expect_success("no rule is broken");
    let kept = fs::read_to_string(reports.join("live-race-token-race-given.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let timeline = kept["timeline"].to_string().to_lowercase();
    let at = |what: &str| timeline.find(what).unwrap_or_else(|| panic!("no {what}: {timeline}"));
    assert!(at("disk-full") < at("unavailable") && at("unavailable") < at("won"), "{timeline}");
    let log = kept["live"]["logs"]["postgres"].to_string();
    assert!(log.contains("PANIC") && log.contains("File too large"), "{log}");
    let tokens = &kept["live"]["rows"]["bootstrap_tokens"];
    assert!(tokens[0]["consumed_at"].is_string(), "{tokens}");
}

#[test]
fn a_crowd_of_programs_joins_through_one_proxy_whatever_breaks() {
    let lab = Lab::new();
    let arguments =
        ["race", "token-race", "--live", "--agents", "24", "--faults", "2", "--image", "plexd=stand-in"];
    let outcome = lab.run(&arguments).expect_success("a crowd of programs");
    assert!(outcome.stdout.contains("24 agents break no rule"), "{}", outcome.stdout);
}

#[test]
fn agents_that_are_programs_race_behind_proxies() {
    let lab = Lab::new();
    let arguments = [
        "race",
        "token-race",
        "--live",
        "--agents",
        "2",
        "--schedules",
        "2",
        "--faults",
        "1",
        "--image",
        "plexd=stand-in",
    ];
    let outcome = lab.run(&arguments).expect_success("programs");
    assert!(outcome.stdout.contains("break no rule"), "{}", outcome.stdout);
}

#[test]
fn what_has_no_live_form_is_named() {
    let lab = Lab::new();
    for (arguments, said) in [
        (&["race", "--live"][..], "which race"),
        (&["race", "lifecycle", "--live"], "no live form"),
        (&["race", "token-race", "--live", "--mutant", "expiry-is-inclusive"], "simulation only"),
        (&["race", "token-race", "--live", "--image", "vault=stand-in"], "plexd"),
    ] {
        let outcome = lab.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
    }
}
