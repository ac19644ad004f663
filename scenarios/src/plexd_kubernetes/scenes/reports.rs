//! Reports that workloads write into the resource's status, on their way to the control plane.

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, consistently, eventually};
use serde_json::{Value, json};

use crate::plexd_kubernetes::agent::{Account, Agent, Setup};
use crate::plexd_kubernetes::control_plane::Seen;
use crate::plexd_kubernetes::ground::{Ground, MEANWHILE, WITHIN};

/// Requests that carry a report, of either generation.
fn carried(agent: &Agent<'_>) -> Vec<Seen> {
    let reports = |seen: &Seen| seen.route().starts_with("state/reports/") || seen.route() == "report";
    agent.plane.seen().into_iter().filter(reports).collect()
}

async fn wait(agent: &Agent<'_>, what: &str, wanted: impl Fn(&Seen) -> bool) -> Result<String, Failure> {
    let found = eventually(what, WITHIN, || async {
        match carried(agent).into_iter().find(|seen| wanted(seen)) {
            Some(seen) => Check::Done(format!("{} {} {}", seen.method, seen.route(), seen.body)),
            None => Check::NotYet(format!("{} requests about reports", carried(agent).len())),
        }
    });
    Ok(found.await?)
}

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let setup = Setup::new("k-reports", Account::Mounted).kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let path = agent.state(&node);
    ground.until("the node's resource", &path, |_| true).await?;
    let status = format!("{path}/status");
    let report = |entries: Value| json!({"status": {"report": entries}});
    let health = |text: &str, version: u32| json!({"key": "health", "payload": text, "version": version});
    let kept = json!({"key": "kept", "payload": "same", "version": 1});
    ground.merge(&status, &report(json!([health("good", 1), kept]))).await?;
    let judge = async |id: &'static str, expected: &str, outcome: Result<String, Failure>| match outcome {
        Ok(seen) => ground.ledger.pass(id, seen),
        Err(failure) => ground.ledger.fail(id, expected, failure.seen, &agent.evidence().await),
    };
    let new = wait(&agent, "the report at the control plane", |seen| seen.body.contains("good")).await;
    let failed = new.is_err();
    judge("controller.notify", "the entry at the control plane", new).await;
    if failed {
        return Err(Failure::expected("a report at the control plane", "none came"));
    }
    wait(&agent, "the other entry", |seen| seen.body.contains("same")).await?;

    // A change of something else.
    let before = carried(&agent).len();
    ground.merge(&path, &json!({"metadata": {"labels": {"touched": "yes"}}})).await?;
    let quiet = consistently("no report is sent again", MEANWHILE, || async {
        let more = carried(&agent).len() - before;
        (more > 0).then(|| format!("{more} more"))
    })
    .await;
    let quiet = quiet.map(|()| format!("{before} requests, and no more")).map_err(Failure::from);
    judge("controller.unchanged", "no request about reports", quiet).await;

    ground.merge(&status, &report(json!([health("bad", 2), kept]))).await?;
    let changed = wait(&agent, "the changed entry", |seen| seen.body.contains("bad")).await;
    judge("controller.changed", "the new payload at the control plane", changed).await;

    ground.merge(&status, &report(json!([health("bad", 2)]))).await?;
    let removed = wait(&agent, "the removal", |seen| {
        (seen.method == "DELETE" && seen.route().ends_with("/kept"))
            || serde_json::from_str::<Value>(&seen.body).is_ok_and(|body| body["deleted"] == json!(["kept"]))
    })
    .await;
    judge("controller.removed", "the entry is deleted at the control plane", removed).await;
    Ok(())
}
