//! Tokens that must not work: the agent is refused with the contract's code, says so, and crash-loops; nothing
//! is adopted, and a token that was not spent stays so.

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::Check;
use serde_json::Value;

use crate::adopt_via_eso::adoption::Adoption;
use crate::clients::cluster::{SOON, describe};
use crate::clients::database::Database;
use crate::clients::plexsphere::IssuedToken;
use crate::elsewhere::create_project;

/// The token expired before it was used.
///
/// # Errors
/// When the refusal is not as the contract says.
pub async fn expired(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let token = adoption.issue_token().await?;
    let expire = async {
        let changed = Database::of(&run.stack.addresses).await?.expire_token(token.id).await?;
        if changed == 1 { Ok(()) } else { Err(Failure::expected("one token to expire", changed.to_string())) }
    };
    adoption.owner.step("let the token expire", expire).await?;
    refused_with(&adoption, &token, "token_expired").await
}

/// The owner revoked the token.
///
/// # Errors
/// When the refusal is not as the contract says.
pub async fn revoked(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let token = adoption.issue_token().await?;
    let revoke = async { Ok(adoption.plexsphere.revoke_token(adoption.project, token.id).await?) };
    adoption.owner.step("revoke the token", revoke).await?;
    refused_with(&adoption, &token, "token_revoked").await
}

/// The token is for a bridge.
///
/// # Errors
/// When the refusal is not as the contract says.
pub async fn wrong_kind(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let issue = async { Ok(adoption.plexsphere.issue_token(adoption.project, "bridge").await?) };
    let token = adoption.owner.step("issue a bridge token by mistake", issue).await?;
    refused_with(&adoption, &token, "kind_mismatch").await
}

/// The token belongs to another Project than the agent is told.
///
/// # Errors
/// When the refusal is not as the contract says.
pub async fn wrong_project(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let token = adoption.issue_token().await?;
    let create = async { Ok(create_project(run, &adoption.plexsphere, "another-project").await?) };
    let other = adoption.owner.step("create another Project", create).await?;
    deliver(&adoption, &token).await?;
    adoption.install_agent_with(|object| configure_project(object, &other.to_string())).await?;
    see_refusal(&adoption, &token, "project_mismatch").await
}

/// Tells the agent its Project, in its ConfigMap.
fn configure_project(object: &mut Value, project: &str) {
    if let Some(Value::String(text)) = object.pointer_mut("/data/config.yaml") {
        *text = text.replace("registration:\n", &format!("registration:\n  project_id: {project}\n"));
    }
}

async fn refused_with(adoption: &Adoption<'_>, token: &IssuedToken, code: &str) -> Result<(), Failure> {
    deliver(adoption, token).await?;
    adoption.install_agent().await?;
    see_refusal(adoption, token, code).await
}

async fn deliver(adoption: &Adoption<'_>, token: &IssuedToken) -> Result<(), Failure> {
    adoption.push_token(token).await?;
    adoption.apply_external_secret().await?;
    let ready = adoption.cluster.wait_external_secret("True");
    adoption.customer.step("confirm that the ExternalSecret is Ready", ready).await.map(drop)
}

async fn see_refusal(adoption: &Adoption<'_>, token: &IssuedToken, code: &str) -> Result<(), Failure> {
    let cluster = &adoption.cluster;
    let crash_loop = cluster.wait_agents("the agent in CrashLoopBackOff", SOON, |agents| {
        let looping = agents.iter().find(|agent| agent.waiting.as_deref() == Some("CrashLoopBackOff"));
        match looping {
            Some(agent) => Check::Done(agent.clone()),
            None => Check::NotYet(describe(agents)),
        }
    });
    let agent = adoption.customer.step("see the agent crash-loop", crash_loop).await?;
    let log = async {
        let line = cluster.wait_log(&agent.name, code).await?;
        if line.contains("register") { Ok(()) } else { Err(Failure::expected("a line about register", line)) }
    };
    adoption.customer.step(&format!("read 403 {code} in its log"), log).await?;
    adoption.expect_adopted(0).await?;
    adoption.expect_consumed(token, false).await
}
