//! Callers of the local API over TCP, whose tokens the agent has reviewed.

use std::net::TcpListener;

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, consistently, eventually};
use serde_json::json;

use crate::plexd_kubernetes::agent::{ACCOUNT, Account, Agent, POD, Setup};
use crate::plexd_kubernetes::api_proxy::{ApiProxy, Refusal, certificates};
use crate::plexd_kubernetes::downgrade::{Downgrade, Reaction};
use crate::plexd_kubernetes::ground::{Ground, MEANWHILE, WITHIN};
use crate::plexd_kubernetes::hands::{At, READ};

/// A caller beside the agent.
struct Caller<'g> {
    ground: &'g Ground,
    namespace: &'static str,
    port: u16,
}

impl Caller<'_> {
    /// Status and body of an answer.
    async fn ask(&self, token: Option<&str>) -> Result<(u16, String), Failure> {
        let answer = eventually("an answer of the local API", WITHIN, || async {
            let (pod, at) = ((self.namespace, POD), (self.port, "/v1/state"));
            match self.ground.ask_local(pod, at, token).await {
                Ok(answer) => Check::Done(answer),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(answer.await?)
    }
}

/// A port that nobody has at this moment.
fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn start<'g>(
    ground: &'g Ground,
    namespace: &'static str,
    proxy: &ApiProxy,
    settings: serde_json::Value,
) -> Result<(Agent<'g>, Caller<'g>), Failure> {
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let node_api =
        json!({"http_enabled": true, "httpenabled": true, "http_listen": listen, "httplisten": listen});
    let setup = Setup::new(namespace, Account::Behind(proxy))
        .kubernetes(settings)
        .more(json!({"node_api": node_api}));
    let agent = ground.agent(setup, |_| {}).await?;
    agent.registered().await?;
    Ok((agent, Caller { ground, namespace, port }))
}

async fn refused(
    ground: &Ground,
    agent: &Agent<'_>,
    id: &'static str,
    text: &str,
    answer: Result<(u16, String), Failure>,
) {
    let expected = format!("401, with `{text}` in the answer or the log");
    let evidence = agent.evidence().await;
    match answer {
        Ok((401, body)) if body.contains(text) || agent.log().await.contains(text) => {
            ground.ledger.pass(id, format!("401 {body}"));
        }
        Ok((status, body)) => ground.ledger.fail(id, expected, format!("{status} {body}"), &evidence),
        Err(failure) => ground.ledger.fail(id, expected, failure.seen, &evidence),
    }
}

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let proxy = ground.proxy().await?;
    let (agent, caller) = start(ground, "k-reviews", &proxy, json!({})).await?;
    let good = ground.token("k-reviews").await?;
    refused(ground, &agent, "review.empty", "kubernetes: authenticate: empty token", caller.ask(None).await)
        .await;
    let answer = caller.ask(Some("nonsense")).await;
    refused(ground, &agent, "review.refused", "kubernetes: authenticate: token not authenticated", answer)
        .await;
    let evidence = agent.evidence().await;
    match caller.ask(Some(&good)).await {
        Ok((200, body)) => ledger.pass("review.success", format!("200 {body}")),
        Ok((status, body)) => ledger.fail("review.success", "200", format!("{status} {body}"), &evidence),
        Err(failure) => ledger.fail("review.success", "200", failure.seen, &evidence),
    }
    let asked = proxy.asked().into_iter().find(|asked| asked.is("POST", "tokenreviews"));
    let expected = "POST /apis/authentication.k8s.io/v1/tokenreviews";
    match &asked {
        Some(asked) if asked.path == "/apis/authentication.k8s.io/v1/tokenreviews" => {
            ledger.pass("http.path", format!("{} {}", asked.method, asked.path));
        }
        Some(asked) => ledger.fail("http.path", expected, &asked.path, &evidence),
        None => ledger.fail("http.path", expected, "no review", &evidence),
    }
    let own = ground.script(At::Agent("k-reviews", POD), READ, &format!("{ACCOUNT}/token")).await?;
    match asked {
        Some(asked) if asked.authorization == format!("Bearer {}", own.trim()) => {
            ledger.pass("http.credential", "Authorization is the token of the mount");
        }
        other => {
            let seen = if other.is_some() { "another Authorization" } else { "no review" };
            ledger.fail("http.credential", "Authorization with the mount's token", seen, &evidence);
        }
    }
    let reason = "InternalError";
    proxy.refuse(&[Refusal { method: "POST", part: "tokenreviews", code: 500, reason, times: u32::MAX }]);
    let answer = caller.ask(Some(&good)).await;
    refused(ground, &agent, "review.failed", "kubernetes: authenticate: review failed", answer).await;
    Ok(())
}

pub async fn audience(ground: &Ground) -> Result<(), Failure> {
    let proxy = ground.proxy().await?;
    let (agent, caller) =
        start(ground, "k-audience", &proxy, json!({"audiences": ["somebody-else"]})).await?;
    let good = ground.token("k-audience").await?;
    let answer = caller.ask(Some(&good)).await;
    refused(ground, &agent, "review.audience", "kubernetes: authenticate: audience mismatch", answer).await;
    Ok(())
}

pub async fn other_authority(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let proxy = ground.proxy().await?;
    let (_, other) = certificates(ground.ways.names())?;
    let setup = Setup::new("k-authority", Account::BehindWith(&proxy, other))
        .kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, |_| {}).await?;
    agent.registered().await?;
    let quiet = consistently("no request to a server of another authority", MEANWHILE, || async {
        let asked = proxy.asked();
        asked.first().map(|asked| format!("{} {}", asked.method, asked.path))
    })
    .await;
    let said = |line: &str| line.contains("certificate") || line.contains("x509");
    let evidence = agent.evidence().await;
    match (quiet, agent.logged("the certificate that is not trusted", said).await) {
        (Ok(()), Ok(line)) => ledger.pass("http.ca", line),
        (Err(error), _) => ledger.fail("http.ca", "no request", error.to_string(), &evidence),
        (_, Err(failure)) => {
            ledger.fail("http.ca", "a refusal of the certificate", failure.seen, &evidence);
        }
    }
    Ok(())
}

pub async fn old_tls(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let server = Downgrade::start(&ground.ways).await?;
    let (_, authority) = certificates(ground.ways.names())?;
    let setup = Setup::new("k-tls", Account::At(server.address, authority))
        .kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, |_| {}).await?;
    agent.registered().await?;
    let met = eventually("a client of the server that speaks TLS 1.1", WITHIN, || async {
        match server.reactions().into_iter().next() {
            Some(reaction) => Check::Done(reaction),
            None => Check::NotYet("none came".into()),
        }
    })
    .await;
    let evidence = agent.evidence().await;
    let expected = "a refusal of TLS 1.1";
    match met {
        Ok(Reaction::Refused(how)) => ledger.pass("http.tls", how),
        Ok(Reaction::WentOn(how)) => ledger.fail("http.tls", expected, how, &evidence),
        Err(error) => ledger.fail("http.tls", expected, error.to_string(), &evidence),
    }
    Ok(())
}
