//! What the secret store can do to an adoption: lack the entry, be down, change its mind afterwards.

use std::time::Duration;

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::faults::Effect;
use plexlab_lab::{Fault, consistently};

use crate::adopt_via_eso::adoption::Adoption;
use crate::clients::plexsphere::IssuedToken;

/// How long a wrong value is given to show up where it must not.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// The entry is not in the store at first.
///
/// # Errors
/// When the adoption does not wait, or does not go on.
pub async fn missing_key(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let token = adoption.issue_token().await?;
    adoption.apply_external_secret().await?;
    adoption.install_agent().await?;
    fails_to_sync(&adoption).await?;
    nothing_registers(&adoption).await?;
    adoption.push_token(&token).await?;
    goes_on(&adoption, &token).await
}

/// The store does not answer at first.
///
/// # Errors
/// When the adoption does not wait, or does not go on.
pub async fn down_then_back(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let store = adoption.store_control()?;
    let token = adoption.issue_token().await?;
    adoption.push_token(&token).await?;
    let dead = Fault::new(Effect::DropRequest);
    let outage = adoption.inject(&store, &dead);
    let outage = adoption.customer.step("take the secret store down", outage).await?;
    adoption.apply_external_secret().await?;
    adoption.install_agent().await?;
    fails_to_sync(&adoption).await?;
    nothing_registers(&adoption).await?;
    adoption.customer.step("bring the secret store back", adoption.lift(&store, outage)).await?;
    goes_on(&adoption, &token).await
}

/// The entry is rotated after the token was consumed.
///
/// # Errors
/// When the rotated value is materialised, or the agent registers again.
pub async fn rotated_upstream(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let token = adoption.issue_token().await?;
    adoption.push_token(&token).await?;
    adoption.apply_external_secret().await?;
    adoption.install_agent().await?;
    goes_on(&adoption, &token).await?;

    let cluster = &adoption.cluster;
    let consumed = cluster.materialised_token().await?;
    let rotated = adoption.issue_token().await?;
    adoption.push_token(&rotated).await?;
    let annotate = cluster.annotate_external_secret("force-sync", "now");
    adoption.customer.step("ask for a refresh with the force-sync annotation", annotate).await?;
    let unchanged = keeps(&adoption, consumed.clone());
    adoption.customer.step("see the rotated value stay out of the Secret", unchanged).await?;
    adoption.revoke_upstream().await?;
    let annotate = cluster.annotate_external_secret("force-sync", "later");
    adoption.customer.step("ask for a refresh again", annotate).await?;
    let kept = keeps(&adoption, consumed.clone());
    adoption.customer.step("see the Secret outlive its entry", kept).await?;
    adoption.expect_adopted(1).await?;
    adoption.expect_consumed(&rotated, false).await
}

/// The Secret holds the same value for a while.
async fn keeps(adoption: &Adoption<'_>, consumed: Option<String>) -> Result<(), Failure> {
    let look = || async {
        match adoption.cluster.materialised_token().await {
            Ok(now) if now == consumed => None,
            Ok(_) => Some("the Secret holds another value".to_owned()),
            Err(failure) => Some(failure.seen),
        }
    };
    Ok(consistently("the Secret to keep the consumed value", LONG_ENOUGH, look).await?)
}

async fn fails_to_sync(adoption: &Adoption<'_>) -> Result<(), Failure> {
    let fails = async {
        let ready = adoption.cluster.wait_external_secret("False").await?;
        let expected = ("SecretSyncedError", "could not get secret data from provider");
        if (ready.reason.as_str(), ready.message.as_str()) == expected {
            return Ok(());
        }
        Err(Failure::expected(
            format!("{}: {}", expected.0, expected.1),
            format!("{}: {}", ready.reason, ready.message),
        ))
    };
    adoption.customer.step("see the ExternalSecret fail to sync", fails).await
}

async fn nothing_registers(adoption: &Adoption<'_>) -> Result<(), Failure> {
    let agents = async {
        let agents = adoption.cluster.agents().await?;
        if agents.iter().all(|agent| !agent.ready && agent.restarts == 0) {
            return Ok(());
        }
        Err(Failure::expected("agents that wait for their Secret", format!("{agents:?}")))
    };
    adoption.customer.step("see the agent wait for its Secret", agents).await?;
    adoption.expect_adopted(0).await.map(drop)
}

async fn goes_on(adoption: &Adoption<'_>, token: &IssuedToken) -> Result<(), Failure> {
    let synced = adoption.cluster.wait_external_secret("True");
    adoption.customer.step("see the ExternalSecret become Ready", synced).await?;
    let rows = adoption.expect_adopted(1).await?;
    adoption.adopted_agents(&rows).await?;
    adoption.expect_consumed(token, true).await
}
