//! A control plane that runs elsewhere: another stack's, as a staging environment would be.

use serde_json::Value;

use crate::fork::Face;
use crate::lab::Lab;

#[tokio::test]
async fn a_cluster_is_adopted_by_a_control_plane_elsewhere_which_is_left_as_it_was() {
    let lab = Lab::new();
    lab.run(&["up", "--name", "staging", "--nodes", "1", "--port", "0"]).expect_success("up");
    let staging = Face::of(&lab, "staging");
    let token = lab.state().join("stacks/staging/owner-token");
    let (before, projects) = staging.plexsphere("/v1/projects?limit=200").await;
    assert_eq!(before, 200, "{projects}");

    let (source, token_file) = (format!("control-plane=url:{}", staging.url()), token.display().to_string());
    let reports = lab.reports().display().to_string();
    let outcome = lab.run(&[
        "run",
        "--scenario",
        "adopt-via-eso",
        "--scenario",
        "adopt-via-eso-expired-token",
        "--image",
        &source,
        "--owner-token-file",
        &token_file,
        "--reports",
        &reports,
    ]);
    let outcome = outcome.expect_success("run");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(lab.reports().join("report.json")).unwrap()).unwrap();
    let text = report.to_string();
    assert!(text.contains("at the API") && text.contains("is not the stack's"), "{text}");
    let secret = std::fs::read_to_string(&token).unwrap();
    for shown in [&text, &outcome.stdout, &outcome.stderr] {
        assert!(!shown.contains(secret.trim()), "the owner's token is shown");
    }

    let (_, registrations) = staging.plexsphere("/__lab/requests").await;
    let registered = registrations.to_string().matches("/v1/register\"").count();
    assert!(registered >= 3, "three nodes come to register: {registrations}");
    let (_, after) = staging.plexsphere("/v1/projects?limit=200").await;
    assert_eq!(after, projects, "the run's Projects are gone");
}

#[test]
fn an_owner_whose_token_cannot_be_read_starts_nothing() {
    let lab = Lab::new();
    let up = ["up", "--image", "control-plane=url:http://127.0.0.1:9", "--owner-token-file", "missing"];
    let outcome = lab.run(&up);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("read the owner's API token from ") && outcome.stderr.contains("missing")
    );
    let stacks = std::fs::read_dir(lab.state().join("stacks"));
    assert!(
        stacks
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .all(|entry| !entry.path().join("stack.json").exists())
    );
}
