//! A stack as a person uses it: up, stock tools, down; nothing is left.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, Outcome, has};

/// The variables that `env` prints.
fn variables(lab: &Lab, name: &str) -> Vec<(String, String)> {
    let json = lab.run(&["env", "--name", name, "-o", "json"]).expect_success("env").stdout;
    let variables: serde_json::Map<String, Value> = serde_json::from_str(&json).unwrap();
    variables.into_iter().map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect()
}

fn tool(lab: &Lab, variables: &[(String, String)], program: &str, arguments: &[&str]) -> Outcome {
    Outcome::of(lab.command_with(variables, program, arguments))
}

#[test]
fn a_stack_comes_up_serves_stock_tools_and_goes_without_a_trace() {
    let lab = Lab::new();
    let users_kubeconfig = lab.home().join(".kube/config");
    std::fs::create_dir(lab.home().join(".kube")).unwrap();
    std::fs::write(&users_kubeconfig, "the user's own\n").unwrap();
    // Somebody else has the port that was asked for.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    let up = lab.run(&["up", "--name", "one", "--nodes", "2", "--port", &port]).expect_success("up");
    let owner = format!("process {}", std::process::id());
    assert!(up.stderr.contains(&format!("port {port} is taken by")) && up.stderr.contains(&owner), "{up:#?}");
    assert!(up.stdout.contains("control plane  http://localhost:"), "{up:#?}");

    let same = lab.run(&["up", "--name", "one", "--nodes", "2"]).expect_success("up of what runs");
    assert!(same.stderr.contains("`one` ran already, as asked for"), "{same:#?}");
    let addresses = |outcome: &Outcome| outcome.stdout.clone();
    assert_eq!(addresses(&same), addresses(&up));
    let other = lab.run(&["up", "--name", "one", "--cloud", "aws"]).expect_success("up of what runs");
    for line in ["  nodes    2 (asked for: 3)\n", "  clouds   none (asked for: aws)\n", "it stays as it is"] {
        assert!(other.stderr.contains(line), "{other:#?}");
    }
    assert!(!other.stderr.contains("images") && !other.stderr.contains("backend"), "{other:#?}");

    let status = lab.run(&["status", "-o", "json"]).expect_success("status").stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status[0]["name"], &status[0]["state"]), (&"one".into(), &"running".into()));

    let ids = lab.run(&["ids", "--name", "one"]).expect_success("ids").stdout;
    let lines: Vec<&str> = ids.lines().collect();
    assert!(
        lines.len() == 2
            && lines[0].starts_with("export DOMAIN_ID=")
            && lines[1].starts_with("export BINDING_ID=")
    );

    let variables = variables(&lab, "one");
    if has("kubectl", "kubectl against a stack") {
        let nodes =
            tool(&lab, &variables, "kubectl", &["get", "nodes", "--no-headers"]).expect_success("get nodes");
        assert_eq!(nodes.stdout.lines().filter(|line| line.contains(" Ready ")).count(), 2, "{nodes:#?}");
        let rollout = ["-n", "default", "rollout", "status", "deployment/plexsphere", "--timeout=60s"];
        tool(&lab, &variables, "kubectl", &rollout).expect_success("rollout status");
        let logs =
            tool(&lab, &variables, "kubectl", &["logs", "deployment/plexsphere"]).expect_success("logs");
        assert!(logs.stdout.contains("insecure default active in dev mode"), "{logs:#?}");
    }
    if has("psql", "psql against a stack") {
        let dsn = variables.iter().find(|(name, _)| name == "PLEXSPHERE_DSN").unwrap().1.clone();
        let query = "SELECT id FROM plexsphere.domains WHERE slug='acme-corp'";
        let domain = tool(&lab, &variables, "psql", &[&dsn, "-tAc", query]).expect_success("psql");
        assert!(lines[0].ends_with(domain.stdout.trim()), "{domain:#?}");
    }
    let component = lab.run(&["logs", "vault", "--name", "one"]).expect_success("logs vault");
    assert!(!component.stdout.is_empty() || component.stderr.is_empty(), "{component:#?}");

    lab.run(&["down", "--name", "one"]).expect_success("down");
    assert_eq!(std::fs::read_dir(lab.state().join("stacks")).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(&users_kubeconfig).unwrap(), "the user's own\n");
    assert_eq!(entries(&lab.home()), [".kube"]);
    drop(taken);
}

#[test]
fn two_stacks_live_side_by_side() {
    let lab = Lab::new();
    for name in ["left", "right"] {
        lab.run(&["up", "--name", name, "--nodes", "1", "--port", "0"]).expect_success(name);
    }
    let (left, right) = (variables(&lab, "left"), variables(&lab, "right"));
    for ((name, left), (_, right)) in left.iter().zip(&right) {
        assert_ne!(left, right, "both stacks have the same {name}");
    }
    lab.run(&["down", "--name", "left"]).expect_success("down");
    let status = lab.run(&["status", "--name", "right"]).expect_success("status").stdout;
    assert!(status.contains("running"), "{status}");
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_build_that_replaces_the_program_does_not_disturb_a_running_stack() {
    if !has("kubectl", "a replaced program and a running stack") {
        return;
    }
    let lab = Lab::new();
    // A link, as cargo makes it: replacing the program means a new file under the same name.
    let program = lab.home().join("xtask");
    let built = env!("CARGO_BIN_EXE_xtask");
    if std::fs::hard_link(built, &program).is_err() {
        std::fs::copy(built, &program).unwrap();
    }
    let up = ["up", "--name", "one", "--nodes", "1", "--port", "0"];
    Outcome::of(lab.command(&program.to_string_lossy(), &up)).expect_success("up");
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "another build").unwrap();

    let variables = variables(&lab, "one");
    let kubectl = |arguments: &[&str]| tool(&lab, &variables, "kubectl", arguments).expect_success("kubectl");
    kubectl(&["delete", "pod", "--all", "--wait=false"]);
    kubectl(&["rollout", "restart", "deployment/plexsphere"]);
    kubectl(&["rollout", "status", "deployment/plexsphere", "--timeout=60s"]);
    kubectl(&["exec", "deployment/plexsphere", "--", "true"]);
}
