//! The envtest backend against the real programs, where `KUBEBUILDER_ASSETS` names them.

use std::collections::BTreeSet;
use std::time::Duration;

use plexlab_lab::{Check, eventually, skip::skipped};
use serde_json::Value;

use crate::fork::Face;
use crate::killed::processes;
use crate::lab::{Lab, Outcome};

/// How long the kernel may take to end what a killed driver started.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The variable to pass on; none says that the test is skipped, and why.
pub fn assets(test: &str) -> Option<[(String, String); 1]> {
    let Ok(directory) = std::env::var("KUBEBUILDER_ASSETS") else {
        skipped(test, "KUBEBUILDER_ASSETS is not set: there is no real kube-apiserver");
        return None;
    };
    Some([("KUBEBUILDER_ASSETS".to_owned(), directory)])
}

#[test]
fn every_scenario_passes_against_a_real_kube_apiserver() {
    let Some(variables) = assets("all scenarios on the envtest backend") else { return };
    let lab = Lab::new();
    let reports = lab.reports();
    let arguments = ["run", "--backend", "envtest", "-o", "json", "--reports", reports.to_str().unwrap()];
    let outcome = Outcome::of(lab.command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &arguments));
    let outcome = outcome.expect_success("run on envtest");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let list: Vec<Value> = serde_json::from_str(&lab.run(&["list", "-o", "json"]).stdout).unwrap();
    let played = report["scenarios"].as_array().unwrap();
    assert_eq!(played.len(), list.len(), "{report:#}");
    assert_eq!(processes(&lab), BTreeSet::new());
}

/// Why the slices of this backend are as they are. When a real server takes loopback addresses, they can be as elsewhere.
#[tokio::test]
async fn services_have_endpoints_although_a_real_server_takes_no_loopback_addresses() {
    let Some(variables) = assets("endpoints on the envtest backend") else { return };
    let lab = Lab::new();
    let arguments = ["up", "--backend", "envtest", "--nodes", "1", "--port", "0"];
    let up = Outcome::of(lab.command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &arguments));
    up.expect_success("up on envtest");
    let face = Face::of(&lab, "dev");
    let slice = |kind: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: mine}}, addressType: {kind}, \
             ports: [], endpoints: [{{addresses: [127.200.128.9]}}]}}"
        )
    };
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/mine";
    assert_eq!(face.kube_apply(path, slice("IPv4")).await, 422);
    assert_eq!(face.kube_apply(path, slice("FQDN")).await, 201);
    let endpoints = "{apiVersion: v1, kind: Endpoints, metadata: {name: mine}, \
                     subsets: [{addresses: [{ip: 127.200.128.9}], ports: [{port: 80}]}]}";
    assert_eq!(face.kube_apply("/api/v1/namespaces/default/endpoints/mine", endpoints.to_owned()).await, 422);

    let slices = face.kube("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices").await.1;
    for service in ["kubernetes", "plexsphere", "postgres"] {
        let of_it = |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service;
        let found = slices["items"].as_array().unwrap().iter().find(of_it).unwrap();
        assert_eq!(found["addressType"], "FQDN");
        assert!(found["endpoints"][0]["addresses"][0].as_str().unwrap().starts_with("127."), "{found}");
    }
    // Through the Service, through the forwarder.
    assert_eq!(face.plexsphere("/v1/auth/whoami").await.0, 200);
    let versions = face.kube("/version").await.1;
    assert!(versions["gitVersion"].is_string() && versions["plexlab"].is_null(), "{versions}");
    lab.run(&["down"]).expect_success("down");
    assert_eq!(processes(&lab), BTreeSet::new());
}

#[tokio::test]
async fn a_killed_driver_takes_the_real_programs_with_it() {
    let Some(variables) = assets("SIGKILL on the envtest backend") else { return };
    let lab = Lab::new();
    let arguments = ["up", "--foreground", "--backend", "envtest", "--nodes", "1", "--port", "0"];
    let command = lab.command_with(&variables, env!("CARGO_BIN_EXE_xtask"), &arguments);
    let driver = command.stdout_null().stderr_null().start().unwrap();
    let is_real =
        |process: &String| process.contains("--etcd-servers=") || process.contains("--listen-client-urls=");
    let both = eventually("etcd and kube-apiserver to run", Duration::from_secs(60), || async {
        let running = processes(&lab).into_iter().filter(is_real).count();
        if running == 2 { Check::Done(()) } else { Check::NotYet(format!("{running} of them")) }
    });
    both.await.unwrap();
    driver.kill().unwrap();
    let gone = eventually("everything of a killed driver to be gone", GONE_WITHIN, || async {
        let left = processes(&lab);
        if left.is_empty() { Check::Done(()) } else { Check::NotYet(format!("{left:?}")) }
    });
    gone.await.unwrap();
    lab.run(&["down"]).expect_success("down of a dead stack");
    assert_eq!(std::fs::read_dir(lab.state().join("stacks")).unwrap().count(), 0);
}
