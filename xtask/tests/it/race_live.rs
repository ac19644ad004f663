//! `race --live`, `repro` and `timeline` with real processes.

use std::fs;

use serde_json::Value;

use crate::lab::{Lab, Outcome};

/// `race --live` with these arguments, its capsules among the lab's reports.
fn live(lab: &Lab, arguments: &[&str]) -> Outcome {
    let reports = lab.reports();
    let fixed = ["--live", "--reports", reports.to_str().unwrap()];
    lab.run(&[&["race"], arguments, &fixed].concat())
}

#[test]
fn a_right_control_plane_breaks_no_rule_at_its_gates_nor_in_a_crowd_and_leaves_nothing() {
    let lab = Lab::new();
    for (race, faults) in [("token-race", "2"), ("revocation-race", "1"), ("full-pool", "0")] {
        let outcome = live(&lab, &[race, "--faults", faults, "--schedules", "4", "--seed", "3"]);
        let outcome = outcome.expect_success(race);
        assert!(outcome.stdout.contains("break no rule"), "{}", outcome.stdout);
    }
    live(&lab, &["token-race", "--agents", "200", "--faults", "2"]).expect_success("a crowd");
    let left: Vec<_> =
        fs::read_dir(lab.state().join("bare")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "only the lock of the place for all is left");
}

#[test]
fn a_wrong_control_plane_leaves_a_capsule_that_replays_with_real_processes_and_holds_no_secret() {
    let lab = Lab::new();
    let outcome = live(&lab, &["token-race", "--mutant", "check-then-act", "-o", "json"]);
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

/// Seven of these schedules in, the network asks twice for an agent, and what it asked is answered first.
#[test]
fn what_the_network_asks_twice_is_told_from_what_the_agent_asked() {
    let lab = Lab::new();
    let schedules = ["--agents", "5", "--faults", "3", "--seed", "817198", "--schedules", "8"];
    let outcome = live(&lab, &[&["address-race"], &schedules[..]].concat()).expect_success("address-race");
    assert!(outcome.stdout.contains("8 schedules"), "{}", outcome.stdout);
}

#[test]
fn a_disk_that_is_full_at_a_commit_costs_an_answer_and_nothing_else() {
    let lab = Lab::new();
    let schedule = "agent 0, server 0.0 x2, disk-full, server 0.0";
    live(&lab, &["token-race", "--agents", "2", "--schedule", schedule]).expect_success("no rule is broken");
    let kept = fs::read_to_string(lab.reports().join("live-race-token-race-given.json")).unwrap();
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
    let crowd = ["token-race", "--agents", "24", "--faults", "2", "--image", "plexd=stand-in"];
    let outcome = live(&lab, &crowd).expect_success("a crowd of programs");
    assert!(outcome.stdout.contains("24 agents break no rule"), "{}", outcome.stdout);
}

#[test]
fn agents_that_are_programs_race_behind_proxies() {
    let lab = Lab::new();
    let few = ["--agents", "2", "--schedules", "2", "--faults", "1", "--image", "plexd=stand-in"];
    let outcome = live(&lab, &[&["token-race"], &few[..]].concat()).expect_success("programs");
    assert!(outcome.stdout.contains("break no rule"), "{}", outcome.stdout);
}

#[test]
fn two_parties_decide_at_the_gates_of_a_real_control_plane_whatever_breaks() {
    let lab = Lab::new();
    for (faults, schedules) in [("0", "4"), ("3", "6")] {
        let outcome = live(&lab, &["two-parties", "--faults", faults, "--schedules", schedules]);
        let outcome = outcome.expect_success("two parties");
        assert!(outcome.stdout.contains("break no rule"), "{}", outcome.stdout);
    }
}

/// One decision's answer is lost behind its commit, another comes twice, a third waits for its turn at the row.
#[test]
fn a_decision_that_was_lost_or_doubled_is_made_once() {
    let lab = Lab::new();
    let schedule = "person 1, desk 1, person 2, desk 2, desk 1 x2, lose-reply 1, person 1, person 2, \
                    person 3, duplicate 3, desk 3 x3, person 3, server 3.32, person 4, kill-server, person 4";
    live(&lab, &["two-parties", "--faults", "3", "--schedule", schedule]).expect_success("no rule is broken");
    let kept = fs::read_to_string(lab.reports().join("live-race-two-parties-given.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let timeline = kept["timeline"].as_array().unwrap();
    let changed: Vec<&Value> = timeline
        .iter()
        .map(|entry| &entry["event"]["changed"])
        .filter(|changed| changed.is_array())
        .collect();
    let states: Vec<&Value> = changed.iter().map(|changed| &changed[0]["assignment"]["state"]).collect();
    assert_eq!(states, ["Approved", "Revoked"], "{timeline:#?}");
    let said = kept["timeline"].to_string();
    for event in ["lost", "lose-reply 1", "duplicate 3", "kill-server", "terminal"] {
        assert!(said.contains(event), "no {event}: {said}");
    }
    let rows = kept["live"]["rows"]["credential_assignments"].as_array().unwrap();
    assert_eq!(rows[0]["state"], "revoked", "{rows:#?}");
}

#[test]
fn wrong_decisions_are_caught_and_their_capsules_replay_with_real_processes() {
    let lab = Lab::new();
    for (mutant, rule) in [
        ("decides-unlocked", "decided-once"),
        ("approves-own", "two-parties"),
        ("remembers-approval", "approved-first"),
    ] {
        let outcome = live(&lab, &["two-parties", "--mutant", mutant, "-o", "json"]);
        assert_eq!(outcome.code, Some(1), "{mutant}: {}", outcome.stderr);
        let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(found["failure"]["violations"][0]["rule"], rule, "{found:#}");
        assert!(found["failure"]["schedule"].as_array().unwrap().len() <= 6, "{found:#}");
        let capsule = found["failure"]["capsule"].as_str().unwrap();
        let text = fs::read_to_string(capsule).unwrap();
        for shape in ["psk_dev_", "postgresql://", "$argon2"] {
            assert!(!text.contains(shape), "the capsule holds a credential of the shape {shape}");
        }
        let replayed = lab.run(&["repro", capsule, "--times", "3"]).expect_success("repro");
        assert!(replayed.stdout.contains("reproduced with real processes: 3 of 3"), "{}", replayed.stdout);
    }
}

/// The whole of a given schedule, as its capsule tells it.
fn given(lab: &Lab, race: &str) -> Value {
    let kept = fs::read_to_string(lab.reports().join(format!("live-race-{race}-given.json"))).unwrap();
    serde_json::from_str(&kept).unwrap()
}

/// What a given schedule with one agent, or one person, comes to; it must break no rule.
fn played(race: &str, faults: &str, schedule: &str) -> Value {
    let lab = Lab::new();
    let arguments = [race, "--agents", "1", "--faults", faults, "--schedule", schedule];
    live(&lab, &arguments).expect_success("no rule is broken");
    given(&lab, race)
}

#[test]
fn a_resource_goes_up_and_down_between_two_brokers_whatever_breaks_and_leaves_nothing() {
    let lab = Lab::new();
    // The second has a disk full when a watcher looks, the third when the outbox is written.
    for (race, faults, schedules, seed) in
        [("provisioning", "0", "1", "1"), ("lifecycle", "3", "15", "1"), ("lifecycle", "2", "12", "5")]
    {
        let numbers = ["--faults", faults, "--schedules", schedules, "--seed", seed];
        let outcome = live(&lab, &[&[race][..], &numbers].concat());
        let outcome = outcome.expect_success(race);
        assert!(outcome.stdout.contains("break no rule"), "{}", outcome.stdout);
    }
    for place in ["bare", "kube"] {
        let left: Vec<_> = fs::read_dir(lab.state().join(place)).unwrap().collect();
        assert_eq!(left.len(), 1, "only the lock of the place for all is left: {left:?}");
    }
}

/// Both brokers want to make the same; the first is killed with a token minted, the second goes on alone, and somebody
/// deletes what it has made before the Node is there.
#[test]
fn what_a_killed_broker_began_is_revoked_and_what_is_deleted_early_is_gone() {
    let schedule = "broker 0 x2, kill-broker 0, broker 1 x4, watcher 0, person 0, desk 0 x3";
    let kept = played("lifecycle", "1", schedule);
    let tokens = kept["live"]["rows"]["bootstrap_tokens"].as_array().unwrap();
    assert!(tokens.len() >= 2 && tokens.iter().all(|token| token["revoked_at"].is_string()), "{tokens:#?}");
    assert_eq!(kept["live"]["rows"]["provisioned_resources"][0]["phase"], "Deleted");
    assert_eq!(kept["live"]["objects"]["composites"], serde_json::json!([]));
    let said = kept["timeline"].to_string();
    for event in ["kill-broker 0", "made", "deleted", "Provisioning", "Deregistering"] {
        assert!(said.contains(event), "no {event}: {said}");
    }
}

/// A token's time ends while the first broker has made what carries it, and the second discards that before the first
/// writes the phase: the first must not, or the Resource is said to be made for ever. Found by `soak`.
#[test]
fn a_resource_whose_substrate_was_discarded_under_its_broker_is_made_again() {
    let schedule = "broker 0 x2, jump, broker 0, broker 1";
    let kept = played("provisioning", "1", schedule);
    let said = kept["timeline"].to_string();
    assert!(said.matches("made").count() >= 2 && said.contains("swept"), "{said}");

    let lab = Lab::new();
    let wrong = ["provisioning", "--mutant", "moves-with-expired", "--agents", "1", "--schedule", schedule];
    assert_eq!(live(&lab, &wrong).code, Some(1));
    let broken = &given(&lab, "provisioning")["violations"];
    assert_eq!(broken[0]["rule"], "ends", "{broken}");
}

/// While somebody's deletion is held in its transaction the other control plane is killed and starts again, and the
/// brokers' watches break: the deletion goes on, and both come to see its end.
#[test]
fn a_second_control_plane_and_the_api_server_come_back_while_a_request_is_held() {
    let schedule = "broker 0 x6, watch, person 0, kill-broker 1, restart-cluster, desk 0 x3";
    let kept = played("lifecycle", "2", schedule);
    assert_eq!(kept["live"]["rows"]["provisioned_resources"][0]["phase"], "Deleted");
    let events = kept["timeline"].as_array().unwrap();
    let at = |what: &str| {
        let found = events.iter().position(|event| event["event"].to_string().contains(what));
        found.unwrap_or_else(|| panic!("no {what}: {events:#?}"))
    };
    let order =
        ["invoke", "kill-broker 1", "restart-cluster", "return", "Deprovisioning\",\"to\":\"Deleted"].map(at);
    assert!(order.is_sorted(), "{order:?}: {events:#?}");
}

#[test]
fn wrong_brokers_are_caught_and_what_they_broke_replays_with_real_processes() {
    let lab = Lab::new();
    let outcome = live(&lab, &["provisioning", "--mutant", "skips-enrolling", "-o", "json"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(found["failure"]["violations"][0]["rule"], "phases", "{found:#}");
    assert!(found["failure"]["schedule"].as_array().unwrap().len() <= 6, "{found:#}");
    let capsule = found["failure"]["capsule"].as_str().unwrap();
    let text = fs::read_to_string(capsule).unwrap();
    for shape in ["psb_", "psk_dev_", "postgresql://", "$argon2", "client-key"] {
        assert!(!text.contains(shape), "the capsule holds a credential of the shape {shape}");
    }
    let replayed = lab.run(&["repro", capsule, "--times", "2"]).expect_success("repro");
    assert!(replayed.stdout.contains("reproduced with real processes: 2 of 2"), "{}", replayed.stdout);

    // Everybody does what they should, one after another: that is enough.
    let arguments = ["lifecycle", "--mutant", "substrate-first", "--agents", "1", "--schedule", "watch"];
    assert_eq!(live(&lab, &arguments).code, Some(1));
    let broken = given(&lab, "lifecycle")["violations"].to_string();
    assert!(broken.contains("node-before-substrate"), "{broken}");
}

#[test]
fn what_has_no_live_form_is_named() {
    let lab = Lab::new();
    for (arguments, said) in [
        (&["race", "--live"][..], "which race"),
        (&["race", "token-race", "--live", "--mutant", "expiry-is-inclusive"], "one microsecond"),
        (&["race", "two-parties", "--live", "--agents", "90"], "too many"),
        (&["race", "token-race", "--live", "--image", "vault=stand-in"], "plexd"),
    ] {
        let outcome = lab.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
    }
}
