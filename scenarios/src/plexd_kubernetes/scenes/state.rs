//! The node's resource: made, filled from what the control plane says, kept right.

use plexlab_harness::run::Failure;
use serde_json::{Value, json};

use crate::plexd_kubernetes::agent::{Account, Setup, state_path};
use crate::plexd_kubernetes::control_plane::{ControlPlane, MESH_IP};
use crate::plexd_kubernetes::ground::Ground;

/// A statement, the field that it is about, and whether that is right.
type Field = (&'static str, &'static str, fn(&Value) -> bool);

pub async fn fresh(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let setup = Setup::new("k-state", Account::Mounted).kubernetes(json!({"crd_sync_interval": "1s"}));
    let say = |plane: &ControlPlane| plane.say(&[("environment", "conformance")], &[("flags", "on")], &[]);
    let agent = ground.agent(setup, say).await?;
    let node = agent.registered().await?;
    let path = agent.state(&node);
    let list = path.rsplit_once('/').map_or("", |(list, _)| list);
    let some = |list: &Value| list["items"].as_array().is_some_and(|items| !items.is_empty());
    match ground.until("a PlexdNodeState", list, some).await {
        Ok(found) => ledger.pass("controller.create", found["items"][0]["metadata"]["name"].to_string()),
        Err(failure) => {
            let evidence = agent.evidence().await;
            ledger.fail("controller.create", "a PlexdNodeState", &failure.seen, &evidence);
        }
    }
    let fields: [Field; 3] = [
        ("state.mesh-ip", "spec.meshIp", |state| state["spec"]["meshIp"] == MESH_IP),
        ("state.metadata", "spec.metadata", |state| {
            state["spec"]["metadata"]["environment"] == "conformance"
        }),
        ("state.data", "spec.data", |state| {
            state["spec"]["data"][0]["key"] == "flags" && state["spec"]["data"][0]["payload"] == "on"
        }),
    ];
    for (id, field, right) in fields {
        judge(ground, &agent, id, field, ground.until(field, &path, right).await).await;
    }
    let id = |state: &Value| state["spec"]["nodeId"] == node.as_str();
    judge(ground, &agent, "state.node-id", "spec.nodeId", ground.until("spec.nodeId", &path, id).await).await;
    let recent = |state: &Value| {
        let written: Option<jiff::Timestamp> =
            state["lastUpdate"].as_str().and_then(|text| text.parse().ok());
        written.is_some_and(|at| {
            jiff::Timestamp::now().duration_since(at).abs() < jiff::SignedDuration::from_mins(1)
        })
    };
    let written = ground.until("lastUpdate", &path, recent).await;
    judge(ground, &agent, "state.last-update", "lastUpdate, of the last minute", written).await;
    Ok(())
}

async fn judge(
    ground: &Ground,
    agent: &crate::plexd_kubernetes::agent::Agent<'_>,
    id: &'static str,
    what: &str,
    outcome: Result<Value, Failure>,
) {
    match outcome {
        Ok(state) => ground.ledger.pass(id, format!("{} {}", state["spec"], state["lastUpdate"])),
        Err(failure) => {
            let evidence = agent.evidence().await;
            ground.ledger.fail(id, format!("{what} as the control plane has it"), failure.seen, &evidence);
        }
    }
}

pub async fn present(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let plane = ControlPlane::start(&ground.ways).await?;
    let node = plane.expect();
    plane.say(&[("environment", "conformance")], &[], &[]);
    ground.namespace("k-present").await?;
    let path = state_path("k-present", &node);
    let list = "/apis/plexd.plexsphere.com/v1alpha1/namespaces/k-present/plexdnodestates";
    let object = json!({
        "apiVersion": "plexd.plexsphere.com/v1alpha1", "kind": "PlexdNodeState",
        "metadata": {"name": format!("node-{node}"), "labels": {"team": "conformance"}},
        "spec": {"nodeId": "stale", "meshIp": "10.0.0.1"},
    });
    ground.create(list, &object).await?;
    let report = json!({"status": {"report": [{"key": "there", "payload": "before", "version": 1}]}});
    ground.merge(&format!("{path}/status"), &report).await?;
    let setup = Setup::new("k-present", Account::Mounted).kubernetes(json!({"crd_sync_interval": "2s"}));
    let agent = ground.agent_in(setup, plane).await?;
    agent.registered().await?;
    let updated =
        ground.until("the stale spec to be updated", &path, |state| state["spec"]["nodeId"] != "stale").await;
    match updated {
        Ok(state) => ledger.pass("controller.update", state["spec"].to_string()),
        Err(failure) => {
            let evidence = agent.evidence().await;
            ledger.fail("controller.update", "an updated spec", &failure.seen, &evidence);
            return Err(failure);
        }
    }
    // Until everything that the control plane says is there, the agent still writes for other reasons.
    let settled = |state: &Value| state["spec"]["metadata"]["environment"] == "conformance";
    let settled = ground.until("the control plane's metadata", &path, settled).await;
    let state = match settled {
        Ok(state) => state,
        // Judged elsewhere; here it only delays.
        Err(_) => ground.find(&path).await?.unwrap_or_default(),
    };
    let evidence = agent.evidence().await;
    if state["metadata"]["labels"]["team"] == "conformance" && state["status"]["report"][0]["key"] == "there"
    {
        ledger.pass("controller.keeps", format!("{} {}", state["metadata"]["labels"], state["status"]));
    } else {
        let seen = format!("{} {}", state["metadata"]["labels"], state["status"]);
        ledger.fail("controller.keeps", "label team=conformance, and the report", seen, &evidence);
    }
    ground.merge(&path, &json!({"spec": {"nodeId": "meddled"}})).await?;
    match ground
        .until("the meddled spec to be put right", &path, |state| state["spec"]["nodeId"] != "meddled")
        .await
    {
        Ok(_) => ledger.pass("controller.sync", "spec.nodeId was put right"),
        Err(failure) => {
            ledger.fail("controller.sync", "spec.nodeId as it was", failure.seen, &agent.evidence().await);
        }
    }
    Ok(())
}
