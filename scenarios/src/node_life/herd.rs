//! Fifty nodes whose agents all start again at once: each comes back as the node it was, and none registers.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, eventually};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::life::set;
use crate::adopt_via_eso::adoption::Adoption;
use crate::clients::cluster::{NAMESPACE, TOKEN_SECRET, soon_for};
use crate::clients::plexsphere::IssuedToken;

/// Tokens that are issued at the same time.
const AT_ONCE: usize = 8;

/// Runs the scenario.
///
/// # Errors
/// When a node does not come back, or comes back as another.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let (owner, customer) = (adoption.owner, adoption.customer);
    let nodes = run.stack.spec.nodes as usize;
    let names = adoption.cluster.node_names().await?;
    let issue = async {
        let issued = names.iter().map(|name| async {
            Ok::<_, Failure>((name.clone(), adoption.plexsphere.issue_token(adoption.project, "node").await?))
        });
        stream::iter(issued).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await
    };
    let tokens = owner.step(&format!("issue a token for each of {nodes} nodes"), issue).await?;
    let secret = [secret(&tokens)];
    let hand_out = adoption.cluster.apply(&secret);
    customer.step("put them into a Secret, by node", hand_out).await?;
    adoption
        .install_agent_with(|object| {
            own_settings(object, &names);
        })
        .await?;
    adoption.expect_adopted(nodes).await?;
    let all = |agents: &[_]| agents.len();
    customer
        .step("see all agents ready", adoption.cluster.wait_ready_agents(nodes))
        .await
        .map(|it| all(&it))?;
    let before = beating(&adoption, nodes, Timestamp::MIN).await?;

    let restarted = Timestamp::now();
    customer.step("end all agents at once", adoption.cluster.delete_agents()).await?;
    let after = beating(&adoption, nodes, restarted).await?;
    customer.step("see all agents ready again", adoption.cluster.wait_ready_agents(nodes)).await?;
    if before != after {
        let other: Vec<_> = after.symmetric_difference(&before).collect();
        return Err(Failure::expected("the same Nodes", format!("others: {other:?}")));
    }
    let registered = async {
        let late: Vec<_> =
            adoption.registrations().await?.into_iter().filter(|one| one.at > restarted).collect();
        if late.is_empty() { Ok(()) } else { Err(Failure::expected("no registration", format!("{late:?}"))) }
    };
    owner.step("find no registration since", registered).await?;
    adoption.expect_adopted(nodes).await?;
    let mut first: Vec<f64> = Vec::new();
    let beats = adoption.exchanges("/heartbeat").await?;
    for path in &after {
        let at =
            beats.iter().filter(|beat| beat.path == *path && beat.at > restarted).map(|beat| beat.at).min();
        first.extend(at.map(|at| at.duration_since(restarted).as_secs_f64()));
    }
    first.sort_by(f64::total_cmp);
    if let (Some(half), Some(last)) = (first.get(first.len() / 2), first.last()) {
        owner.saw(format!(
            "{nodes} nodes heard of again: half of them within {half:.1} s, all within {last:.1} s"
        ));
    }
    Ok(())
}

/// One Secret with each node's token under its name.
fn secret(tokens: &[(String, IssuedToken)]) -> Value {
    let entries: Map<String, Value> =
        tokens.iter().map(|(name, token)| (name.clone(), json!(token.plaintext.expose_secret()))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": TOKEN_SECRET, "namespace": NAMESPACE},
           "stringData": entries})
}

/// Has each node's agent read its own token: the Secret's entry of its name is mounted in the place of the one token. The
/// agents beat often enough to be heard of soon, and not so often that fifty of them keep the machine busy.
fn own_settings(object: &mut Value, names: &[String]) {
    const DIRECTORY: &str = "/etc/plexd-token";
    set(
        object,
        &json!({"heartbeat": {"interval": "3s"}, "registration": {"token_file": format!("{DIRECTORY}/token")}}),
    );
    let Some(spec) = object.pointer_mut("/spec/template/spec") else { return };
    let items: Vec<Value> =
        names.iter().map(|name| json!({"key": name, "path": format!("{name}/token")})).collect();
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        for volume in volumes.iter_mut().filter(|volume| volume["name"] == "config") {
            *volume = json!({"name": "config", "configMap": {"name": "plexd-config"}});
        }
        volumes.push(json!({"name": "tokens", "secret": {"secretName": TOKEN_SECRET, "items": items}}));
    }
    if let Some(mounts) = spec["containers"][0]["volumeMounts"].as_array_mut() {
        mounts.push(json!({"name": "tokens", "mountPath": DIRECTORY, "readOnly": true,
                           "subPathExpr": "$(MY_NODE_NAME)"}));
    }
}

/// Waits for an accepted heartbeat of so many Nodes since a time; their paths.
async fn beating(
    adoption: &Adoption<'_>,
    nodes: usize,
    since: Timestamp,
) -> Result<BTreeSet<String>, Failure> {
    let wait = async {
        let found = eventually(format!("heartbeats of {nodes} Nodes"), soon_for(nodes), || async {
            let beats = match adoption.exchanges("/heartbeat").await {
                Ok(beats) => beats,
                Err(failure) => return Check::NotYet(failure.seen),
            };
            let paths: BTreeSet<String> = beats
                .into_iter()
                .filter(|beat| beat.at > since && beat.status == Some(200))
                .map(|beat| beat.path)
                .collect();
            if paths.len() >= nodes {
                Check::Done(paths)
            } else {
                Check::NotYet(format!("{} Nodes", paths.len()))
            }
        });
        Ok(found.await?)
    };
    adoption.owner.step(&format!("hear of {nodes} Nodes"), wait).await
}
