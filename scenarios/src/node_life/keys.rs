//! Keys that change under a running agent: its own is revoked, the Domain's is replaced.

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::consistently;
use serde_json::json;

use super::life::{Life, MEANWHILE};
use super::words;
use crate::clients::database::Database;

/// Moves the clock past the time after which a silent Node counts as unreachable (300 s).
const LONG_SILENCE: i64 = 400;

/// The Node's secret key is revoked: the agent is refused from then on, goes on asking, and takes no other identity.
///
/// # Errors
/// When it does otherwise.
pub async fn revoked(run: &Run) -> Result<(), Failure> {
    let life = Life::begin(run).await?;
    let (owner, customer) = (life.adoption.owner, life.adoption.customer);
    let revoke = async {
        let rows = Database::of(&run.stack.addresses).await?.revoke_key(life.node).await?;
        if rows == 1 { Ok(()) } else { Err(Failure::expected("one key revoked", format!("{rows}"))) }
    };
    owner.step("revoke the Node's secret key, by SQL", revoke).await?;
    goes_on_refused(&life).await?;
    // It is in the mesh all the same, and nobody hears of it.
    let advance = life.adoption.lab("clock", json!({"advance_seconds": LONG_SILENCE}));
    owner.step("let the time pass after which silence counts", advance).await?;
    life.owner_sees("unreachable").await?;
    let node = life.nodes().await?.remove(0);
    owner.saw(format!(
        "the Node is unreachable, and still in the mesh: left {}, {} peers rows",
        node.left_mesh, node.peers
    ));
    customer.saw("the agent does not end and asks for no new registration: nothing but a person helps it");
    let back = life.adoption.lab("clock", json!({"advance_seconds": -LONG_SILENCE}));
    life.adoption.owner.step("set the clock right", back).await?;
    let former = life.node;
    let life = life.readmit().await?;
    let rows = life.nodes().await?;
    let left = rows.iter().find(|row| row.id == former).is_some_and(|row| row.left_mesh);
    owner.saw(format!("{} Nodes of the Resource; the former one left the mesh: {left}", rows.len()));
    Ok(())
}

/// Heartbeats are answered with 401, the identity on disk is loaded again, and that is all.
///
/// # Errors
/// When the agent does otherwise.
pub async fn goes_on_refused(life: &Life<'_>) -> Result<(), Failure> {
    let customer = life.adoption.customer;
    let line = life.adoption.cluster.wait_log(&life.pod, words::UNAUTHORISED);
    customer.step("see the agent refused", line).await?;
    let line = life.adoption.cluster.wait_log(&life.pod, words::RELOADED);
    let line = customer.step("see it load the identity that it has", line).await?;
    customer.saw(line);
    life.adoption.owner.step("see it ask on", life.beats(401, 2)).await?;
    let codes = async {
        let beats = life.exchanges("heartbeat").await?;
        match beats.iter().rev().find(|beat| beat.status == Some(401)).and_then(|beat| beat.notes.get("code"))
        {
            Some(code) if code == "nsk_revoked" => Ok(()),
            other => Err(Failure::expected("401 nsk_revoked", format!("401 {other:?}"))),
        }
    };
    life.adoption.owner.step("find 401 nsk_revoked", codes).await?;
    customer.step("see the same pod and the same Node", life.same_pod_and_node()).await
}

/// The Domain's signing key is replaced: the old key vouches for the new one, and the new one for what follows.
///
/// # Errors
/// When an event is not taken as it must be.
pub async fn rotated(run: &Run) -> Result<(), Failure> {
    let mut life = Life::begin(run).await?;
    let (owner, customer) = (life.adoption.owner, life.adoption.customer);
    owner.step("see the event stream open", life.streams(1)).await?;
    let before = owner.step("send an event under the first key", life.send(1)).await?;
    customer.step("see it taken", life.taken(&before)).await?;
    let rotate = life.adoption.lab("signing-key", json!({"node_id": life.node}));
    owner.step("give the Domain a new signing key", rotate).await?;
    let line = life.adoption.cluster.wait_line(&life.pod, "that takes the new key", words::takes_key);
    let line = customer.step("see the agent take the new key", line).await?;
    customer.saw(line);
    let after = owner.step("send an event under the new key", life.send(2)).await?;
    customer.step("see that one taken, too", life.taken(&after)).await?;
    customer.step("see no event refused", refuses_nothing(&life)).await?;

    // A restarted agent believes the new key at once, or (the public one) as soon as it has pulled the state.
    let old = life.pod.clone();
    customer.step("delete the agent's pod", life.adoption.cluster.delete_pod(&old)).await?;
    let agents = life.adoption.cluster.wait_agents(
        "another pod of the agent",
        crate::clients::cluster::SOON,
        |agents| match agents.iter().find(|agent| agent.name != old && agent.ready) {
            Some(agent) => plexlab_lab::Check::Done(agent.name.clone()),
            None => plexlab_lab::Check::NotYet(crate::clients::cluster::describe(agents)),
        },
    );
    life.pod = customer.step("see another pod become ready", agents).await?;
    let opened = life.exchanges("events").await?.len();
    owner.step("see its event stream open", life.streams(opened.max(2))).await?;
    let pulled = life.adoption.cluster.wait_log(&life.pod, words::PULLED);
    customer.step("see it pull the state", pulled).await?;
    let third = owner.step("send an event under the new key", life.send(3)).await?;
    customer.step("see that one taken by the restarted agent", life.taken(&third)).await?;
    customer.step("see the restarted agent refuse nothing", refuses_nothing(&life)).await
}

async fn refuses_nothing(life: &Life<'_>) -> Result<(), Failure> {
    let none = consistently("no event refused", MEANWHILE, || async {
        let log = life.adoption.cluster.log(&life.pod).await;
        log.lines().find(|line| line.contains(words::REFUSES)).map(str::to_owned)
    });
    Ok(none.await?)
}
