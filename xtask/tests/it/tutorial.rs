//! A document played on a stack, as a person asks for it.

use std::path::PathBuf;

use serde_json::Value;

use crate::lab::{Lab, has};

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
