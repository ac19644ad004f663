//! Agents that are not in a pod, and agents whose configuration is refused.

use plexlab_harness::run::Failure;
use plexlab_lab::consistently;
use serde_json::json;

use crate::plexd_kubernetes::agent::{Account, Agent, Setup};
use crate::plexd_kubernetes::ground::{Ground, MEANWHILE};

pub async fn outside(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    // A namespace, so that nothing but being disabled keeps it from being valid.
    let setup = Setup::new("k-outside", Account::Outside).kubernetes(json!({"namespace": "k-outside"}));
    let agent = ground.agent(setup, |_| {}).await?;
    agent.registered().await?;
    let list = "/apis/plexd.plexsphere.com/v1alpha1/namespaces/k-outside/plexdnodestates";
    let idle = consistently("no trace of Kubernetes", MEANWHILE, || async {
        match ground.find(list).await {
            Ok(Some(list)) if list["items"].as_array().is_some_and(|items| !items.is_empty()) => {
                Some("a PlexdNodeState".to_owned())
            }
            _ => agent
                .log()
                .await
                .lines()
                .find(|line| line.contains("no API server") || line.contains("crd"))
                .map(str::to_owned),
        }
    })
    .await;
    let evidence = agent.evidence().await;
    match idle {
        Ok(()) => ledger.pass("config.enabled-default", "registered, and no trace of Kubernetes"),
        Err(error) => {
            ledger.fail("config.enabled-default", "nothing of Kubernetes", error.to_string(), &evidence)
        }
    }
    match agent.log().await.lines().find(|line| line.contains("environment detected")) {
        None => ledger.pass("env.nil-outside", "no environment is detected"),
        Some(line) => ledger.fail("env.nil-outside", "no environment", line, &evidence),
    }
    Ok(())
}

pub async fn invalid(ground: &Ground) -> Result<(), Failure> {
    let setup =
        Setup::new("k-outside-invalid", Account::Outside).kubernetes(json!({"crd_sync_interval": "1ms"}));
    let agent = ground.agent(setup, |_| {}).await?;
    let evidence = agent.registered().await;
    let said = agent.evidence().await;
    match evidence {
        Ok(node) => ground.ledger.pass("validate.disabled", format!("registered as {node}")),
        Err(failure) => {
            let expected = "an agent that runs: nothing is validated while disabled";
            ground.ledger.fail("validate.disabled", expected, failure.seen, &said);
        }
    }
    Ok(())
}

/// The agent ends, with 1, and names the field.
async fn refuses(ground: &Ground, agent: Agent<'_>, id: &'static str, field: &str) -> Result<(), Failure> {
    let expected = format!("exit code 1, and a message that names {field}");
    let ended = agent.ended().await;
    let evidence = agent.evidence().await;
    match ended {
        Ok(1) if agent.log().await.contains(field) => {
            let log = agent.log().await;
            let line = log.lines().find(|line| line.contains(field)).unwrap_or_default();
            ground.ledger.pass(id, line.to_owned());
        }
        Ok(code) => ground.ledger.fail(id, expected, format!("exit code {code}"), &evidence),
        Err(failure) => ground.ledger.fail(id, expected, failure.seen, &evidence),
    }
    Ok(())
}

pub async fn no_namespace(ground: &Ground) -> Result<(), Failure> {
    let proxy = ground.proxy().await?;
    let setup =
        Setup::new("k-nowhere", Account::WithoutNamespace(&proxy)).kubernetes(json!({"namespace": ""}));
    let agent = ground.agent(setup, |_| {}).await?;
    refuses(ground, agent, "validate.namespace", "Namespace").await
}

pub async fn short_interval(ground: &Ground) -> Result<(), Failure> {
    let setup = Setup::new("k-short", Account::Mounted).kubernetes(json!({"crd_sync_interval": "999ms"}));
    let agent = ground.agent(setup, |_| {}).await?;
    refuses(ground, agent, "validate.interval", "CRDSyncInterval").await
}
