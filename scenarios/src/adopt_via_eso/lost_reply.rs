//! The reply to a registration is lost after its commit: the token is spent, the agent never heard.
//!
//! The agent repeats the request with the same token, key and nonce and is refused (contract: control plane, 7.4:
//! `nonce_collision` for the nonce that consumed the token); its restarts come with a new nonce and meet
//! `token_consumed`. The owner's way out is a fresh token.

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::Fault;
use plexlab_lab::faults::Effect;

use crate::adopt_via_eso::adoption::Adoption;

/// Runs the scenario.
///
/// # Errors
/// When the control plane or the agent does not behave as the contract says.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let control_plane = run.stack.addresses.control_plane.clone();
    let token = adoption.issue_token().await?;
    adoption.push_token(&token).await?;
    adoption.apply_external_secret().await?;
    let fault = Fault::new(Effect::DropReply).on("/v1/register").times(1);
    let lose = adoption.inject(&control_plane, &fault);
    adoption.owner.step("lose the reply to the next registration", lose).await?;
    adoption.install_agent().await?;

    let cluster = &adoption.cluster;
    let refused = async {
        let agent = cluster.wait_agents("the agent's pod", crate::clients::cluster::SOON, |agents| {
            match agents.first() {
                Some(agent) => plexlab_lab::Check::Done(agent.clone()),
                None => plexlab_lab::Check::NotYet("there is no pod".into()),
            }
        });
        cluster.wait_log(&agent.await?.name, "token_consumed").await
    };
    adoption.customer.step("see the agent refused after its restart", refused).await?;
    let attempts = async {
        let seen = adoption.registrations().await?;
        let outcome = |index: usize| {
            seen.get(index).map(|exchange| (exchange.status, exchange.notes.get("code").map(String::as_str)))
        };
        if outcome(0).map(|first| first.0) == Some(None)
            && outcome(1) == Some((Some(403), Some("nonce_collision")))
        {
            return Ok(());
        }
        let seen: Vec<_> =
            seen.iter().map(|exchange| (exchange.status, exchange.notes.get("code"))).collect();
        Err(Failure::expected("a lost reply, then 403 nonce_collision", format!("{seen:?}")))
    };
    adoption.owner.step("see both attempts at the control plane", attempts).await?;
    adoption.expect_consumed(&token, true).await?;
    adoption.expect_adopted(1).await?;

    let fresh = adoption.issue_token().await?;
    adoption.push_token(&fresh).await?;
    adoption
        .customer
        .step("delete the spent Secret, so that it is made anew", cluster.delete_token_secret())
        .await?;
    adoption.customer.step("see the agent become ready", cluster.wait_ready_agents(1)).await?;
    adoption.expect_consumed(&fresh, true).await
}
