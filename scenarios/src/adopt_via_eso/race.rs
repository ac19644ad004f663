//! The how-to as it is printed, with as many nodes as the stack has racing for one token.

use std::future::ready;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use plexlab_harness::run::{Failure, Run};

use crate::adopt_via_eso::adoption::Adoption;
use crate::clients::cluster::{AgentPod, soon_for};

/// Losers that are let in by fresh tokens; with very many nodes the rest stays out, the point being made.
const LET_IN: usize = 2;
/// Logs that are read at the same time.
const LOGS_AT_ONCE: usize = 16;
/// Restarts after which a loser counts as crash-looping with a growing restart count.
const RESTARTS: i32 = 2;

/// Runs the scenario.
///
/// # Errors
/// When a claim of the how-to does not hold.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let nodes = run.stack.spec.nodes as usize;

    let token = adoption.issue_token().await?;
    adoption.push_token(&token).await?;
    adoption.apply_external_secret().await?;
    adoption.install_agent().await?;

    let (cluster, customer) = (&adoption.cluster, adoption.customer);
    let ready = async {
        let ready = cluster.wait_external_secret("True").await?;
        if (ready.reason.as_str(), ready.message.as_str()) == ("SecretSynced", "secret synced") {
            return Ok(());
        }
        Err(Failure::expected("SecretSynced: secret synced", format!("{}: {}", ready.reason, ready.message)))
    };
    customer.step("confirm that the ExternalSecret is Ready", ready).await?;
    let rows = adoption.expect_adopted(1).await?;
    let winner = adoption.adopted_agents(&rows).await?.remove(0);
    let log = cluster.follow_log(&winner.name, "register");
    customer.step("follow the agent's log until it shows the registration", log).await?;
    adoption.expect_consumed(&token, true).await?;

    if nodes > 1 {
        losers_crash_loop(&adoption, &winner, nodes).await?;
        exactly_one_was_let_in(&adoption, nodes).await?;
        for round in 1..=LET_IN.min(nodes - 1) {
            let_one_in(&adoption, round).await?;
        }
    }
    Ok(())
}

/// Every other agent is refused with `token_consumed` and crash-loops with a growing restart count.
async fn losers_crash_loop(adoption: &Adoption<'_>, winner: &AgentPod, nodes: usize) -> Result<(), Failure> {
    let cluster = &adoption.cluster;
    let crash_loop = async {
        // On a loaded machine many agents take their turns.
        let within = soon_for(nodes);
        let what = format!("{} agents in CrashLoopBackOff with {RESTARTS} restarts or more", nodes - 1);
        let backs_off = |agent: &AgentPod| {
            agent.name != winner.name
                && agent.waiting.as_deref() == Some("CrashLoopBackOff")
                && agent.restarts >= RESTARTS
        };
        cluster.wait_each_agent(&what, within, nodes - 1, backs_off).await
    };
    let losers = adoption.customer.step("see the other agents crash-loop", crash_loop).await?;
    let refused = async {
        let logs = losers.iter().map(|loser| cluster.wait_log(&loser.name, "token_consumed"));
        stream::iter(logs).buffer_unordered(LOGS_AT_ONCE).try_for_each(|_| ready(Ok(()))).await
    };
    adoption.customer.step("read 403 token_consumed in their logs", refused).await
}

/// The control plane let exactly one registration through and refused all others with `token_consumed`.
async fn exactly_one_was_let_in(adoption: &Adoption<'_>, nodes: usize) -> Result<(), Failure> {
    if crate::registry::Capability::ControlPlaneFaults.missing(&adoption.run.stack.spec.images).is_some() {
        return Ok(());
    }
    let count = async {
        let seen = adoption.registrations().await?;
        let created = seen.iter().filter(|exchange| exchange.status == Some(201)).count();
        let refused: Vec<_> = seen.iter().filter(|exchange| exchange.status != Some(201)).collect();
        let consumed = refused
            .iter()
            .filter(|exchange| exchange.status == Some(403))
            .filter(|exchange| exchange.notes.get("code").is_some_and(|code| code == "token_consumed"))
            .count();
        if created == 1 && consumed == refused.len() && consumed >= nodes - 1 {
            return Ok(());
        }
        let other: Vec<_> =
            refused.iter().map(|exchange| (exchange.status, exchange.notes.get("code"))).collect();
        Err(Failure::expected(
            format!("one 201 and at least {} times 403 token_consumed", nodes - 1),
            format!("{created} times 201 and {other:?}"),
        ))
    };
    adoption.owner.step("find exactly one 201 among all registrations", count).await
}

/// A fresh token, materialised in the old one's place, lets one more agent in.
async fn let_one_in(adoption: &Adoption<'_>, round: usize) -> Result<(), Failure> {
    let token = adoption.issue_token().await?;
    adoption.push_token(&token).await?;
    // With refreshInterval 0s the operator reads the store again only when the Secret is missing.
    let delete = adoption.cluster.delete_token_secret();
    adoption.customer.step("delete the spent Secret, so that it is made anew", delete).await?;
    let rows = adoption.expect_adopted(round + 1).await?;
    adoption.adopted_agents(&rows).await?;
    adoption.expect_consumed(&token, true).await
}
