//! What an agent in a pod finds out by itself, and what its configuration overrides.

use std::time::{Duration, Instant};

use plexlab_harness::agents::Generation;
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::json;

use crate::plexd_kubernetes::agent::{ACCOUNT, Account, Agent, POD, Setup, state_path};
use crate::plexd_kubernetes::api_proxy::ApiProxy;
use crate::plexd_kubernetes::control_plane::ControlPlane;
use crate::plexd_kubernetes::ground::{Ground, WITHIN};
use crate::plexd_kubernetes::hands::{At, READ};
use crate::plexd_kubernetes::ledger::Ledger;

/// A field of the agent's line about its environment.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

pub async fn pod(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let setup = Setup::new("k-pod", Account::Mounted).kubernetes(json!({"namespace": ""}));
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let evidence = agent.evidence().await;
    match ground.until("the node's resource", &agent.state(&node), |_| true).await {
        Ok(_) => {
            let path = agent.state(&node);
            ledger.pass("env.namespace", path.clone());
            ledger.pass("config.namespace-detected", path.clone());
            ledger.pass("rbac.sufficient", format!("{path} was made by the agent's own account"));
        }
        Err(failure) => {
            for id in ["env.namespace", "config.namespace-detected", "rbac.sufficient"] {
                ledger.fail(id, "a resource in the pod's namespace k-pod", &failure.seen, &evidence);
            }
        }
    }
    // The reference names no other trace of these fields than what the agent says.
    let line = agent.logged("environment detected", |line| line.contains("environment detected")).await;
    let spec = ground.find(&format!("/api/v1/namespaces/k-pod/pods/{POD}")).await?.unwrap_or_default();
    let on = spec["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    // Whatever the agent makes of it.
    let variable = ground.script(At::Agent("k-pod", POD), "variable \"$1\"", "MY_NODE_NAME").await;
    match variable {
        Ok(found) if found.trim() == on => ledger.pass("variable.node-name", format!("MY_NODE_NAME={on}")),
        Ok(found) => {
            ledger.fail("variable.node-name", format!("MY_NODE_NAME={on}"), found, &evidence);
        }
        Err(failure) => ledger.fail("variable.node-name", "its environment", failure.seen, &evidence),
    }
    let wanted = [
        ("env.pod-name", "pod_name", POD.to_owned()),
        ("env.node-name", "node_name", on.clone()),
        ("env.token", "token_path", format!("{ACCOUNT}/token")),
    ];
    for (id, name, value) in wanted {
        let found = line.as_ref().ok().and_then(|line| field(line, name));
        match found {
            Some(found) if found == value => ledger.pass(id, format!("{name}={found}")),
            Some(found) => ledger.fail(id, format!("{name}={value}"), format!("{name}={found}"), &evidence),
            None => ledger.fail(id, format!("{name}={value} in its log"), "no such field", &evidence),
        }
    }
    Ok(())
}

/// The configuration in the newer documents' spelling and nothing else, whatever the agent is known to want.
pub async fn documented(ground: &Ground) -> Result<(), Failure> {
    let mut setup = Setup::new("k-documented", Account::Mounted);
    setup.generations = Some(&[Generation::Current]);
    let agent = ground.agent(setup, |_| {}).await?;
    let registered = agent.registered().await;
    let evidence = agent.evidence().await;
    match registered {
        Ok(node) => ground.ledger.pass("mount.config-documented", format!("registered as {node}")),
        Err(_) => {
            let log = agent.log().await;
            let line = log.lines().find(|line| line.starts_with("Error")).or(log.lines().last());
            let seen = line.unwrap_or("nothing was logged").to_owned();
            ground.ledger.fail("mount.config-documented", "a registration", seen, &evidence);
        }
    }
    Ok(())
}

pub async fn forced(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let proxy = ground.proxy().await?;
    let setup = Setup::new("k-forced", Account::Behind(&proxy))
        .kubernetes(json!({"enabled": false, "crd_enabled": false, "namespace": "k-forced"}));
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let asked = eventually("a request to the API server", WITHIN, || async {
        match proxy.asked().into_iter().next() {
            Some(asked) => Check::Done(asked),
            None => Check::NotYet("none".into()),
        }
    })
    .await;
    let evidence = agent.evidence().await;
    let in_cluster = ["env.in-cluster", "config.enabled-in-pod"];
    let first = match asked {
        Ok(asked) => {
            let seen = format!("{} {}", asked.method, asked.path);
            in_cluster.into_iter().for_each(|id| ledger.pass(id, seen.clone()));
            asked
        }
        Err(error) => {
            for id in in_cluster {
                ledger.fail(id, "requests to the API server", error.to_string(), &evidence);
            }
            return Err(error.into());
        }
    };
    let token = ground.script(At::Agent("k-forced", POD), READ, &format!("{ACCOUNT}/token")).await?;
    let same = first.authorization == format!("Bearer {}", token.trim());
    for id in ["client.token", "config.token-default"] {
        if same {
            ledger.pass(id, "Authorization is the token of the mount");
        } else {
            let seen =
                if first.authorization.is_empty() { "no Authorization" } else { "another Authorization" };
            ledger.fail(id, "Authorization: Bearer, with the mount's token", seen, &evidence);
        }
    }
    resource(ground, &agent, &node).await?;
    interval(ledger, &proxy, "config.interval-default", Duration::from_secs(10), &agent).await;
    Ok(())
}

/// Whether some resource is there, and under which name.
async fn resource(ground: &Ground, agent: &Agent<'_>, node: &str) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let list = "/apis/plexd.plexsphere.com/v1alpha1/namespaces/k-forced/plexdnodestates";
    let some = |list: &serde_json::Value| list["items"].as_array().is_some_and(|items| !items.is_empty());
    let evidence = agent.evidence().await;
    match ground.until("a PlexdNodeState", list, some).await {
        Ok(list) => {
            let name = list["items"][0]["metadata"]["name"].as_str().unwrap_or_default();
            ledger.pass("config.crd-in-pod", name.to_owned());
            if name == format!("node-{node}") {
                ledger.pass("state.name", name.to_owned());
            } else {
                ledger.fail("state.name", format!("node-{node}"), name, &evidence);
            }
        }
        Err(failure) => {
            for id in ["config.crd-in-pod", "state.name"] {
                ledger.fail(id, "a PlexdNodeState", &failure.seen, &evidence);
            }
        }
    }
    Ok(())
}

/// The last of two pauses in a row that are as long as wanted. At the start there are several looks close together, and
/// on a busy machine some come late: one pause may fit by chance.
fn steady(looks: &[Instant], wanted: Duration) -> Option<Duration> {
    let slack = wanted.mul_f64(0.25).max(Duration::from_millis(700));
    let fits = |pause: Duration| pause + slack >= wanted && pause <= wanted + slack;
    let mut last_two = looks.windows(3).map(|looks| (looks[1] - looks[0], looks[2] - looks[1]));
    last_two.find(|(one, next)| fits(*one) && fits(*next)).map(|(_, next)| next)
}

/// How long an agent lets the resource be between two looks.
async fn interval(ledger: &Ledger, proxy: &ApiProxy, id: &'static str, wanted: Duration, agent: &Agent<'_>) {
    let looks = || -> Vec<Instant> {
        let asked = proxy.asked().into_iter();
        asked.filter(|asked| asked.is("GET", "/plexdnodestates/node-")).map(|asked| asked.at).collect()
    };
    let what = "three looks at the resource, an interval apart";
    let found = eventually(what, wanted * 3 + WITHIN / 2, || async {
        let looks = looks();
        steady(&looks, wanted).map_or_else(
            || {
                let pauses: Vec<Duration> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
                Check::NotYet(format!("pauses of {pauses:.1?}"))
            },
            Check::Done,
        )
    })
    .await;
    let evidence = agent.evidence().await;
    let expected = format!("a look every {wanted:?}");
    match found {
        Ok(pause) => ledger.pass(id, format!("{pause:.1?}")),
        Err(error) => ledger.fail(id, expected, error.to_string(), &evidence),
    }
}

pub async fn overridden(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let proxy = ground.proxy().await?;
    ground.create("/api/v1/namespaces", &json!({"metadata": {"name": "k-elsewhere"}})).await?;
    let setup = Setup::new("k-override", Account::Behind(&proxy)).kubernetes(json!({
        "namespace": "k-elsewhere", "crd_sync_interval": "2s",
        "audit_log_path": "/var/log/kubernetes/audit/custom.log",
    }));
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let line = "{\"verb\":\"custom\",\"objectRef\":{},\"responseStatus\":{\"code\":200},\"stageTimestamp\":\"2026-01-01T00:00:00Z\"}\n";
    agent.audit(">>", "custom.log", line).await?;
    let evidence = || agent.evidence();
    match ground
        .until("the resource in the other namespace", &state_path("k-elsewhere", &node), |_| true)
        .await
    {
        Ok(_) => ledger.pass("config.namespace-set", state_path("k-elsewhere", &node)),
        Err(failure) => {
            ledger.fail(
                "config.namespace-set",
                "a resource in k-elsewhere",
                &failure.seen,
                &evidence().await,
            );
        }
    }
    let read = eventually("the event of the other log", WITHIN, || async {
        match agent.plane.audit_events().into_iter().find(|event| event["action"] == "custom") {
            Some(event) => Check::Done(event.to_string()),
            None => Check::NotYet(format!("{} audit requests", agent.plane.of("audit").len())),
        }
    })
    .await;
    match read {
        Ok(event) => ledger.pass("config.audit-set", event),
        Err(error) => {
            ledger.fail("config.audit-set", "events of custom.log", error.to_string(), &evidence().await);
        }
    }
    interval(ledger, &proxy, "config.interval-set", Duration::from_secs(2), &agent).await;
    Ok(())
}

pub async fn token_path(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let proxy = ground.proxy().await?;
    let mut setup = Setup::new("k-token", Account::Behind(&proxy))
        .kubernetes(json!({"token_path": "/var/run/custom/other", "crd_sync_interval": "1s"}));
    setup.volumes.push((
        json!({"name": "custom", "configMap": {"name": "custom"}}),
        json!({"name": "custom", "mountPath": "/var/run/custom", "readOnly": true}),
    ));
    let plane = ControlPlane::start(&ground.ways).await?;
    ground.namespace("k-token").await?;
    let map = json!({"metadata": {"name": "custom"}, "data": {"other": "a-token-of-another-file"}});
    ground.create("/api/v1/namespaces/k-token/configmaps", &map).await?;
    let agent = ground.agent_in(setup, plane).await?;
    agent.registered().await?;
    let shown = eventually("a request to the API server", WITHIN, || async {
        match proxy.asked().into_iter().next() {
            Some(asked) => Check::Done(asked.authorization),
            None => Check::NotYet("none".into()),
        }
    })
    .await;
    let evidence = agent.evidence().await;
    let expected = "Authorization with the token at TokenPath";
    match shown {
        Ok(shown) if shown == "Bearer a-token-of-another-file" => {
            ledger.pass("config.token-set", "Authorization is the other file's token");
        }
        Ok(_) => ledger.fail("config.token-set", expected, "another Authorization", &evidence),
        Err(error) => ledger.fail("config.token-set", expected, error.to_string(), &evidence),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_one_that_comes_again() {
        let begun = Instant::now();
        let looks = |at: &[u64]| -> Vec<Instant> {
            at.iter().map(|millis| begun + Duration::from_millis(*millis)).collect()
        };
        let two = Duration::from_secs(2);
        assert_eq!(steady(&looks(&[0, 40, 90, 2100, 4150]), two), Some(Duration::from_millis(2050)));
        assert_eq!(steady(&looks(&[0, 3500, 5400, 7300]), two), Some(Duration::from_millis(1900)));
        // Of an agent that looks every ten seconds: the start of one on a busy machine.
        assert_eq!(steady(&looks(&[0, 200, 2300, 12_300, 22_300]), two), None);
        assert_eq!(steady(&looks(&[0, 2000]), two), None);
    }
}
