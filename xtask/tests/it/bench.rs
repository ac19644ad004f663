//! `bench kube` and `bench eso`, made small: that they measure all, not how fast.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexlab_lab::{Check, eventually};
use serde_json::Value;

use crate::envtest::assets;
use crate::killed::processes;
use crate::kube_serve::places;
use crate::lab::{Lab, Outcome};

/// A hundredth of the whole, in the build that is tested.
const SMALL: [&str; 6] = ["bench", "kube", "--as-built", "--scale=0.01", "--repeat=2", "--output=json"];
/// How long a killed one's programs, and an interrupted one, may take to end.
const GONE_WITHIN: Duration = Duration::from_secs(20);

fn figures(outcome: &Outcome) -> Vec<Value> {
    let mut document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(document["machine"]["cores"].as_u64() > Some(0), "{document:#}");
    let Value::Array(figures) = document["figures"].take() else { panic!("{outcome:#?}") };
    let names: BTreeSet<&str> = figures.iter().map(|figure| figure["what"].as_str().unwrap()).collect();
    assert_eq!(names.len(), figures.len(), "each is measured once: {names:#?}");
    for wanted in [
        "start to ready",
        "create Pod, p99",
        "delete ConfigMap, 16 clients",
        "a write's answer to the last of 10 events, p50",
        "list 200 Pods as a Table",
        "  until a watch from the list's end has it, p99",
    ] {
        assert!(names.contains(wanted), "{wanted} is not among {names:#?}");
    }
    figures
}

#[test]
fn all_of_it_is_measured_of_our_server_alone_and_nothing_is_left() {
    let lab = Lab::new();
    let outcome = lab.run(&SMALL).expect_success("bench kube");
    assert!(outcome.stderr.contains("KUBEBUILDER_ASSETS is not set"), "{outcome:#?}");
    for figure in figures(&outcome) {
        assert!(figure["median"].as_f64() >= Some(0.0), "{figure:#}");
        assert!(figure["real"].is_null() && figure["goal"].is_null(), "{figure:#}");
    }
    assert_eq!((processes(&lab), places(&lab).len()), (BTreeSet::new(), 0));
}

#[test]
fn the_real_one_is_measured_beside_it() {
    let Some(variables) = assets("measurements beside a real kube-apiserver") else { return };
    let lab = Lab::new();
    let outcome = Outcome::of(lab.command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &SMALL));
    for figure in figures(&outcome.expect_success("bench kube beside the real one")) {
        assert!(figure["real"]["median"].as_f64() >= Some(0.0), "{figure:#}");
        assert_eq!(figure["goal"].is_null(), figure["real"]["met"].is_null(), "{figure:#}");
    }
    assert_eq!((processes(&lab), places(&lab).len()), (BTreeSet::new(), 0));
}

#[test]
fn external_secrets_are_measured_and_nothing_is_left() {
    let lab = Lab::new();
    let small = ["bench", "eso", "--as-built", "--scale=0.02", "--repeat=1", "--output=json"];
    let outcome = lab.run(&small).expect_success("bench eso");
    assert!(outcome.stderr.contains("PLEXLAB_ESO is not set"), "{outcome:#?}");
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let medians: Vec<f64> = document["figures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|figure| figure["median"].as_f64().unwrap())
        .collect();
    assert!(medians.len() == 3 && medians.iter().all(|median| *median > 0.0), "{document:#}");
    assert_eq!(processes(&lab), BTreeSet::new());
}

#[tokio::test]
async fn one_that_is_interrupted_or_killed_leaves_no_process_and_no_directory() {
    let lab = Lab::new();
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        // The start after a killed one removes its directory.
        let bench = lab.xtask(&SMALL).stdout_null().stderr_null().start().unwrap();
        let started = || async {
            let serves = processes(&lab).iter().any(|process| process.contains("kube-apiserver"));
            if serves { Check::Done(()) } else { Check::NotYet("no server runs".into()) }
        };
        eventually("the start of a server", GONE_WITHIN, started).await.unwrap();
        kill(Pid::from_raw(i32::try_from(bench.pids()[0]).unwrap()), signal).unwrap();
        let ended = tokio::task::spawn_blocking(move || bench.wait().map(|output| output.status.code()));
        let code = tokio::time::timeout(GONE_WITHIN, ended).await.expect("it ends").unwrap().unwrap();
        assert_eq!(code, (signal == Signal::SIGINT).then_some(1));
        let gone = || async {
            let left = processes(&lab);
            if left.is_empty() { Check::Done(()) } else { Check::NotYet(format!("{left:?}")) }
        };
        eventually("the end of the server", GONE_WITHIN, gone).await.unwrap();
    }
    assert_eq!(places(&lab).len(), 0);
}
