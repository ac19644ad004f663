//! A document played on a stack, as a person asks for it.

use std::path::PathBuf;

use serde_json::Value;

use crate::lab::{Lab, Outcome, has};

fn document(lab: &Lab, text: &str) -> String {
    let path: PathBuf = lab.home().join("document.md");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_document_is_played_on_a_stack_of_its_own_and_the_stack_goes() {
    if !has("bash", "a document on a stack of its own") {
        return;
    }
    let lab = Lab::new();
    let file = document(
        &lab,
        "```bash\nexport PLEXSPHERE_URL=http://localhost:8080\ntest -r \"$KUBECONFIG\"\n\
         test -z \"${PLEXSPHERE_TOKEN:-}\"\ntest \"$HOME\" != \"$PWD\"\necho \"<say> $PLEXLAB_STACK\"\n```\n\
         ```text\nhello <name>\n```\n\n```bash\nexec 3<>\"/dev/tcp/localhost/${PLEXSPHERE_URL##*:}\"\n\
         printf 'GET /v1/health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3\nhead -1 <&3 | tr -d '\\r'\n```\n\
         ```text\nHTTP/1.0 200 OK\n```\n\n```bash\nfalse\n```\n\n```bash\ntrue\n```\n",
    );
    let played = lab.run(&["tutorial", &file, "--set", "say=hello", "-o", "json"]);
    assert_eq!(played.code, Some(1), "{played:#?}");
    let report: Value = serde_json::from_str(&played.stdout).unwrap();
    let verdicts: Vec<&str> = report["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["verdict"]["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["passed", "passed", "failed", "skipped"], "{played:#?}");
    let left =
        std::fs::read_dir(lab.state().join("stacks")).map(|entries| entries.count()).unwrap_or_default();
    assert_eq!(left, 0, "the stack is gone");
}

#[test]
fn what_cannot_be_played_is_said_before_anything_starts() {
    let lab = Lab::new();
    let missing = lab.run(&["tutorial", "no-such-file.md"]);
    assert_eq!(missing.code, Some(2), "{missing:#?}");
    assert!(missing.stderr.contains("no-such-file.md") && missing.stderr.contains("scenarios/tutorials/"));
    let empty = document(&lab, "Only words.\n");
    let nothing = lab.run(&["tutorial", &empty]);
    assert_eq!(nothing.code, Some(5), "{nothing:#?}");
    assert!(nothing.stderr.contains("no shell blocks"), "{nothing:#?}");
    let file = document(&lab, "```bash\ntrue\n```\n");
    let ghost = lab.run(&["tutorial", &file, "--stack", "ghost"]);
    assert_eq!(ghost.code, Some(4), "{ghost:#?}");
    assert_eq!(lab.run(&["tutorial", &file, "--set", "x"]).code, Some(2));
}

/// A directory with a `cargo` that fails: the Makefile's targets are to call the program that plays, and build nothing.
fn cargo_that_fails(lab: &Lab) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = lab.home().join("programs");
    std::fs::create_dir(&directory).unwrap();
    let script = directory.join("cargo");
    std::fs::write(&script, "#!/bin/sh\necho 'cargo was called' >&2\nexit 101\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn the_workspaces_own_tutorials_come_out_as_they_are_printed() {
    let test = "the workspace's own tutorials";
    if !["bash", "kubectl", "psql", "jq", "curl", "make"].iter().all(|program| has(program, test)) {
        return;
    }
    let lab = Lab::new();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = [("PATH".to_owned(), format!("{}:{path}", cargo_that_fails(&lab).display()))];
    for name in ["provision-a-cloud-resource.md", "adopt-a-cluster-via-eso.md"] {
        let file = format!("{}/../scenarios/tutorials/{name}", env!("CARGO_MANIFEST_DIR"));
        let played = Outcome::of(lab.command_with(&path, env!("CARGO_BIN_EXE_xtask"), &["tutorial", &file]));
        let played = played.expect_success(name);
        assert!(played.stdout.contains(" passed, 0 failed"), "{played:#?}");
    }
}
