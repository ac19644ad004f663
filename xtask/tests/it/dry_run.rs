//! `up --dry-run` for each backend and image source: what a source changes of the plan, or why it is refused; and what
//! profiles choose.

use std::os::unix::fs::PermissionsExt as _;

use crate::lab::{Lab, Outcome};

/// A program for `bin:` in the lab's home, which is where commands are given.
fn program(lab: &Lab) {
    let path = lab.home().join("plexd");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn plan(lab: &Lab, backend: &str, more: &[&str]) -> Outcome {
    let kubeconfig: &[&str] = if backend == "kubeconfig" { &["--kubeconfig", "/no/such/file"] } else { &[] };
    let up = ["up", "--dry-run", "--nodes", "1", "--backend", backend];
    lab.run(&[&up, kubeconfig, more].concat())
}

/// What of the plan is not as it is with stand-ins alone, or why there is none.
fn difference(plain: &Outcome, chosen: &Outcome, lab: &Lab) -> String {
    let home = lab.home().display().to_string();
    if let Some(code) = chosen.code.filter(|code| *code != 0) {
        assert_eq!(chosen.stdout, "", "a refused plan is not printed");
        return format!("exit code {code}\n{}", chosen.stderr.replace(&home, "<home>"));
    }
    let lines = |outcome: &Outcome| -> Vec<String> {
        outcome.stdout.lines().map(|line| line.replace(&home, "<home>")).collect()
    };
    let (before, after) = (lines(plain), lines(chosen));
    let only = |sign: char, of: &[String], other: &[String]| -> String {
        of.iter().filter(|line| !other.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    let code = chosen.code.unwrap_or(-1);
    let refusal = chosen.stderr.replace(&home, "<home>");
    format!("exit code {code}\n{}{}{refusal}", only('-', &before, &after), only('+', &after, &before))
}

#[test]
fn each_backend_says_what_a_source_changes_or_why_it_has_no_use_for_it() {
    let lab = Lab::new();
    program(&lab);
    for backend in ["embedded", "envtest", "kind", "kubeconfig"] {
        let plain = plan(&lab, backend, &[]).expect_success(backend);
        let sources = [
            "plexd=stand-in",
            "plexd=bin:plexd",
            "plexd=image:registry.example.com/plexd:1",
            "plexd=url:http://127.0.0.1:9/",
            "control-plane=image:registry.example.com/plexsphere:1",
            "control-plane=url:https://staging.example.com/",
            "postgres=image:postgres:17-alpine",
        ];
        let more = [
            "--image control-plane=url:https://staging.example.com/ --owner-token-file token",
            "--image control-plane=url:http://127.0.0.1:9 --owner-token-file token",
            "--owner-token-file token",
        ];
        let all: String = sources
            .iter()
            .map(|source| format!("--image {source}"))
            .chain(more.map(str::to_owned))
            .map(|chosen| {
                let words: Vec<&str> = chosen.split(' ').collect();
                format!("## {chosen}\n{}\n", difference(&plain, &plan(&lab, backend, &words), &lab))
            })
            .collect();
        insta::with_settings!({ snapshot_suffix => backend }, { insta::assert_snapshot!(all) });
    }
    assert!(!lab.state().exists());
}

#[test]
fn a_profile_chooses_what_the_command_line_does_not() {
    let lab = Lab::new();
    program(&lab);
    let text = "[profiles.real-plexd]\nimage = { plexd = \"bin:plexd\" }\n\n[profiles.on-kind]\nbackend = \"kind\"\n\
                load = [\"images.tar\"]\n";
    std::fs::write(lab.home().join("plexlab.toml"), text).unwrap();
    let plain = plan(&lab, "embedded", &[]).expect_success("plain");
    let up = |more: &[&str]| lab.run(&[&["up", "--dry-run", "--nodes", "1"], more].concat());
    let agent = up(&["--profile", "real-plexd"]).expect_success("real-plexd");
    insta::assert_snapshot!(difference(&plain, &agent, &lab), @r"
    exit code 0
    -   plexd             stand-in
    +   plexd             bin:<home>/plexd
    ");
    let kind = up(&["--profile", "on-kind"]).expect_success("on-kind").stdout;
    let archive = lab.home().join("images.tar").display().to_string();
    assert!(kind.starts_with("stack dev on the kind backend") && kind.contains(&archive), "{kind}");
    let embedded = up(&["--profile", "on-kind", "--backend", "embedded"]).expect_success("overridden").stdout;
    assert!(embedded.starts_with("stack dev on the embedded backend"), "{embedded}");
}

#[test]
fn a_profile_that_is_not_there_is_named_with_those_that_are() {
    let lab = Lab::new();
    let refused = |hint: &str| {
        let outcome = lab.run(&["up", "--dry-run", "--profile", "real-plex"]);
        assert!(outcome.code == Some(2) && outcome.stderr.contains(hint), "{hint}: {outcome:#?}");
    };
    refused("there is no plexlab.toml in ");
    let file = lab.home().join("plexlab.toml");
    std::fs::write(&file, "[profiles.real-plexd]\nagent = \"current\"\n").unwrap();
    refused("there is `real-plexd`");
    std::fs::write(&file, "[profiles.real-plex]\nbackends = \"kind\"\n").unwrap();
    refused("unknown field `backends`");
}
