//! A control plane that is not there when the node starts, and one that goes later: the agent waits, and is the same node
//! when it is back.

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, eventually};

use super::life::{Life, eager, offer};
use super::words;
use crate::adopt_via_eso::adoption::Adoption;
use crate::clients::cluster::{SOON, describe};
use crate::lifecycle::outage::scale;

/// Runs the scenario.
///
/// # Errors
/// When the agent gives up, or comes back as another node.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let token = offer(&adoption).await?;
    let (owner, customer) = (adoption.owner, adoption.customer);
    owner.step("take the control plane down", down(run)).await?;
    adoption.install_agent_with(eager).await?;
    let waits = async {
        let agent = adoption.cluster.wait_agents("the agent's pod", SOON, |agents| match agents.first() {
            Some(agent) => Check::Done(agent.name.clone()),
            None => Check::NotYet(describe(agents)),
        });
        adoption.cluster.wait_log(&agent.await?, words::TRIES_AGAIN).await
    };
    let line = customer.step("see the agent try again and again", waits).await?;
    customer.saw(line);
    let nothing = async {
        match adoption.adopted().await? {
            rows if rows.is_empty() => Ok(()),
            rows => Err(Failure::expected("nothing adopted", format!("{rows:?}"))),
        }
    };
    owner.step("find nothing adopted, by SQL", nothing).await?;
    owner.step("bring the control plane back", up(&adoption)).await?;
    let life = Life::adopted(adoption).await?;
    life.adoption.expect_consumed(&token, true).await?;
    let once = async {
        let seen = life.adoption.registrations().await?;
        match seen.iter().filter(|one| one.status == Some(201)).count() {
            1 if seen.len() == 1 => Ok(()),
            _ => Err(Failure::expected("one registration, which succeeded", format!("{seen:?}"))),
        }
    };
    owner.step("find one registration since it is back", once).await?;
    customer.step("see the pod that waited run on", life.same_pod_and_node()).await?;

    owner.step("take the control plane down again", down(run)).await?;
    let fails = life.adoption.cluster.wait_log(&life.pod, words::BEAT_FAILED);
    let line = customer.step("see heartbeats fail", fails).await?;
    customer.saw(line);
    owner.step("bring the control plane back again", up(&life.adoption)).await?;
    owner.step("see heartbeats again", life.beats(200, 2)).await?;
    let none = async {
        match life.adoption.registrations().await?.len() {
            0 => Ok(()),
            more => Err(Failure::expected("no registration", format!("{more} of them"))),
        }
    };
    owner.step("find no registration since it is back again", none).await?;
    customer.step("see the same pod and the same Node", life.same_pod_and_node()).await?;
    owner.saw(format!("Node {} before, between and after both outages", life.node));
    Ok(())
}

async fn down(run: &Run) -> Result<(), Failure> {
    scale(&run.stack.client, "default", "plexsphere", 0).await
}

async fn up(adoption: &Adoption<'_>) -> Result<(), Failure> {
    scale(&adoption.run.stack.client, "default", "plexsphere", 1).await?;
    let records = eventually("the control plane's record of requests", SOON, || async {
        match adoption.registrations().await {
            Ok(_) => Check::Done(()),
            Err(failure) => Check::NotYet(failure.seen),
        }
    });
    records.await?;
    adoption.answering().await
}
