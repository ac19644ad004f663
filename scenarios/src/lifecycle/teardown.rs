//! The order of a teardown: the Node is out of the mesh before its substrate is touched; deletion in every phase, and
//! twice.

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ground::{Ground, WITHIN, handle};
use super::hold;
use super::outage::crossplanes;
use super::witness::{Fate, LIFE, Sightings, Witness};
use crate::clients::plexsphere::resources::Resource;

/// Runs the scenario.
///
/// # Errors
/// When something goes in another order.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let ground = Ground::prepare(run).await?;
    node_first(&ground).await?;
    early_ends(&ground, "early").await
}

/// A Node that does not drain keeps its substrate; when it has gone, the substrate follows, all of it.
async fn node_first(ground: &Ground<'_>) -> Result<(), Failure> {
    let (owner, operator, project) = (ground.owner, ground.operator, ground.project);
    let resource = owner.step("declare a Resource", ground.provision(project)).await?;
    let witness = Witness::of(ground, resource.id);
    let sightings = Sightings::of(ground, project);
    owner.step("see it Ready", ground.until_phase(resource.id, "Ready")).await?;
    let composite = format!("XKubernetesCloudlessNode {}", handle(&resource));
    let seen = eventually("the watch to show the Composite Resource", WITHIN, || async {
        match sightings.first(&composite, Fate::Appeared) {
            Some(_) => Check::Done(()),
            None => Check::NotYet("it does not".into()),
        }
    });
    seen.await?;

    operator.step("keep Nodes from draining", hold::drains(ground, true)).await?;
    let delete = async {
        ground.delete(resource.id).await?;
        ground.delete(resource.id).await
    };
    owner.step("delete the Resource, twice", delete).await?;
    owner.step("see it Deregistering", witness.until(ground, "Deregistering")).await?;
    let meanwhile = async {
        let other = ground.provision(project).await?;
        ground.delete(other.id).await?;
        ground.until_phase(other.id, "Deleted").await
    };
    operator.step("see another Resource come and go meanwhile", meanwhile).await?;
    let stays = async {
        let object = ground.composite(&resource).await?.unwrap_or_default();
        let nodes = ground.history.nodes(resource.id).await?;
        let registered = nodes.iter().filter(|node| node.deregistered_at.is_none()).count();
        let ending = sightings.first(&composite, Fate::Ending);
        let untouched = object["metadata"]["uid"].is_string()
            && object["metadata"].get("deletionTimestamp").is_none_or(Value::is_null);
        if registered == 1 && untouched && ending.is_none() {
            return Ok(());
        }
        let seen = format!("{registered} registered Nodes, {}, {ending:?}", object["metadata"]);
        Err(Failure::expected("a registered Node and its Composite Resource untouched", seen))
    };
    operator.step("find its substrate untouched while the Node is registered", stays).await?;
    operator.step("let Nodes drain", hold::drains(ground, false)).await?;
    let end = async {
        witness.until(ground, "Deleted").await?;
        nothing_of(ground, &resource).await
    };
    owner.step("see it Deleted, and then no part of its substrate", end).await?;
    owner.step("delete it once more", ground.delete(resource.id)).await?;

    let order = async {
        let nodes = ground.history.nodes(resource.id).await?;
        let left = nodes.first().and_then(|node| node.deregistered_at);
        let ending = eventually("the watch to show the end of the Composite Resource", WITHIN, || async {
            match (sightings.first(&composite, Fate::Ending), sightings.first(&composite, Fate::Gone)) {
                (Some(ending), Some(_)) => Check::Done(ending),
                seen => Check::NotYet(format!("{seen:?}")),
            }
        });
        let ending = ending.await?;
        match left {
            Some(left) if left <= ending => Ok(()),
            left => {
                let seen = format!("{left:?}, and the deletion seen at {ending}");
                Err(Failure::expected("the Node to leave before its substrate is deleted", seen))
            }
        }
    };
    operator.step("find the Node's end before its substrate's in the timeline", order).await?;
    operator.step("hear the same life from both witnesses", witness.account(ground)).await.and_then(
        |(rows, _)| {
            if rows == LIFE {
                Ok(())
            } else {
                Err(Failure::expected(format!("{LIFE:?}"), format!("{rows:?}")))
            }
        },
    )?;
    owner.step("find nothing left", ground.until_nothing_remains(project)).await
}

/// Deleted means that no part is there. (Pods of a Job go after it.)
async fn nothing_of(ground: &Ground<'_>, resource: &Resource) -> Result<(), Failure> {
    let mut there = Vec::new();
    let name = handle(resource);
    for part in ground.remains(resource.project_id).await? {
        let is_pod = part.starts_with("Pod ");
        if part.contains(&name) && !is_pod {
            there.push(part);
        }
    }
    if there.is_empty() { Ok(()) } else { Err(Failure::expected("no part of it", there.join(", "))) }
}

/// Deletes a Resource while it is Pending, Provisioning and Enrolling, twice each; tells both witnesses' accounts.
///
/// # Errors
/// When one does not end, or leaves something.
pub async fn early_ends(ground: &Ground<'_>, name: &str) -> Result<(), Failure> {
    let project = ground.another_project(name).await?;
    let begin = async {
        hold::namespace_ending(ground, project).await?;
        ground.provision(project).await
    };
    let step = "declare a Resource whose namespace cannot be made yet";
    let pending = ground.owner.step(step, begin).await?;
    end_in(ground, project, &pending, &["Pending"]).await?;
    hold::release_namespace(ground, project).await?;

    crossplanes(ground, 0).await?;
    let step = "declare a Resource without a Crossplane";
    let provisioning = ground.owner.step(step, ground.provision(project)).await?;
    end_in(ground, project, &provisioning, &["Pending", "Provisioning"]).await?;

    crossplanes(ground, 1).await?;
    hold::no_pods(ground).await?;
    let step = "declare a Resource whose Job can have no pod";
    let enrolling = ground.owner.step(step, ground.provision(project)).await?;
    end_in(ground, project, &enrolling, &["Pending", "Provisioning", "Enrolling"]).await?;
    hold::pods_again(ground).await
}

async fn end_in(
    ground: &Ground<'_>,
    project: Uuid,
    resource: &Resource,
    before: &[&str],
) -> Result<(), Failure> {
    let Some(phase) = before.last() else { return Ok(()) };
    let witness = Witness::of(ground, resource.id);
    ground.owner.step(&format!("see it {phase}"), witness.until(ground, phase)).await?;
    // As an administrator of the cluster can.
    let composite = ground.composite(resource).await?.unwrap_or_default();
    let token = composite.pointer("/spec/parameters/helmValues/bootstrapToken").cloned();
    let delete = async {
        ground.delete(resource.id).await?;
        ground.delete(resource.id).await?;
        witness.until(ground, "Deleted").await
    };
    ground.owner.step(&format!("delete it while {phase}, twice"), delete).await?;
    let spent = async {
        let live = ground.history.live_tokens(resource.id).await?;
        if live > 0 {
            return Err(Failure::expected("no live token", live.to_string()));
        }
        let Some(token) = token.as_ref().and_then(Value::as_str) else { return Ok(()) };
        ground.run.stack.redactor.register(token);
        match super::token_race::register(ground, project, token, &json!("late")).await? {
            (403, code) if code == "token_revoked" => Ok(()),
            seen => Err(Failure::expected("403 token_revoked", format!("{seen:?}"))),
        }
    };
    ground.operator.step("find its token revoked", spent).await?;
    let (rows, seen) = witness.account(ground).await?;
    let whole = [before, &["Deregistering", "Deprovisioning", "Deleted"]].concat();
    // All but the phase that it was held in are short: the API may miss one.
    if rows != whole || !seen.iter().any(|other| other == phase) {
        return Err(Failure::expected(format!("{whole:?}"), format!("{rows:?}, by the API {seen:?}")));
    }
    ground.owner.step("find nothing left of it", ground.until_nothing_remains(project)).await
}
