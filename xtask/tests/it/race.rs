//! `race`, `repro` and `timeline` from the command line.

use duct::cmd;

fn xtask(home: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = cmd(env!("CARGO_BIN_EXE_xtask"), arguments)
        .dir(home)
        .env("HOME", home)
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_wrong_control_plane_leaves_a_capsule_that_replays_shrinks_and_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, _) = xtask(
        home.path(),
        &["race", "token-race", "--mutant", "check-then-act", "--reports", "out", "-o", "json"],
    );
    assert_eq!(code, Some(1), "{out}");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(found["failure"]["schedule"].as_array().unwrap().len() <= 6, "{out}");
    let capsule = found["failure"]["capsule"].as_str().unwrap();

    let (code, out, _) = xtask(home.path(), &["repro", capsule, "--minimise"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("reproduced, 100 of 100") && out.contains("one-winner"), "{out}");

    let (code, out, _) = xtask(home.path(), &["timeline", capsule]);
    assert_eq!(code, Some(0));
    assert!(out.contains("agent 1") && out.contains('✗'), "{out}");
    let (code, ..) = xtask(home.path(), &["timeline", capsule, "--html", "page.html"]);
    assert_eq!(code, Some(0));
    assert!(std::fs::read_to_string(home.path().join("page.html")).unwrap().contains("<table>"));
}

#[test]
fn a_right_control_plane_breaks_nothing_and_all_mutants_are_caught() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, _) = xtask(home.path(), &["race", "token-race", "--exhaustive"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("all that differ"), "{out}");
    let (code, out, _) = xtask(home.path(), &["race", "token-race", "--agents", "1000", "--schedules", "1"]);
    assert_eq!(code, Some(0), "{out}");
    let (code, out, _) = xtask(home.path(), &["race", "--mutants"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        std::fs::read_dir(home.path()).unwrap().next().is_none(),
        "a search without a finding writes nothing"
    );
}

#[test]
fn a_report_becomes_a_capsule_and_bad_input_is_named() {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report.md");
    std::fs::write(
        &report,
        "### Scenario\n\ntoken-race\n\n### Schedule\n\nagent 0\nserver 0.0\nkill-server\n",
    )
    .unwrap();
    let (code, out, _) = xtask(home.path(), &["repro", "--new", "report.md"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(home.path().join("report.capsule.json").exists());
    for (arguments, says) in [
        (vec!["race", "token-rase"], "did you mean token-race?"),
        (vec!["race", "token-race", "--mutant", "x"], "no mutant"),
        (vec!["repro", "nothing.json"], "failed to read"),
        (vec!["repro", "report.md"], "is no capsule"),
    ] {
        let (code, _, said) = xtask(home.path(), &arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
