//! What is wrong around the agent: its files, its rights, its API server.

use std::time::Duration;

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use super::audit::line;
use crate::plexd_kubernetes::agent::{Account, Agent, POD, Setup};
use crate::plexd_kubernetes::ground::{Ground, WITHIN};
use crate::plexd_kubernetes::hands::At;

/// The most that an agent may hold in memory while it reads, in KiB. An idle one holds about 11 MiB.
const MOST_KIB: u64 = 96 * 1024;
/// Reading a gigabyte takes its time on a busy machine.
const GIGABYTE_WITHIN: Duration = Duration::from_secs(90);
const STATES: &str = "/plexdnodestates";

fn judge(
    ground: &Ground,
    id: &'static str,
    expected: &str,
    outcome: Result<String, Failure>,
    evidence: &str,
) {
    match outcome {
        Ok(text) => ground.ledger.pass(id, text),
        Err(failure) => ground.ledger.fail(id, expected, failure.seen, evidence),
    }
}

/// The agent ends with 1 and a line that has all these words.
async fn ends_with(agent: &Agent<'_>, words: &[&str]) -> Result<String, Failure> {
    let code = agent.ended().await?;
    let log = agent.log().await;
    let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
    match line {
        Some(line) if code == 1 => Ok(format!("exit code 1: {line}")),
        _ => {
            let last = log.lines().find(|line| line.starts_with("Error")).or(log.lines().last());
            Err(Failure::expected("", format!("exit code {code}: {}", last.unwrap_or("nothing was logged"))))
        }
    }
}

pub async fn config(ground: &Ground) -> Result<(), Failure> {
    let mut setup = Setup::new("k-yaml", Account::Mounted);
    setup.file = Some("api: {base_url: [unfinished\n  heartbeat: interval: 1s\n");
    let agent = ground.agent(setup, |_| {}).await?;
    let outcome = ends_with(&agent, &["Error", "/etc/plexd/config.yaml", "yaml"]).await;
    let evidence = agent.evidence().await;
    judge(ground, "input.config", "exit code 1, and a line that names the file", outcome, &evidence);
    Ok(())
}

pub async fn token(ground: &Ground) -> Result<(), Failure> {
    // Nobody can read a directory, not even root.
    let setup = Setup::new("k-unreadable", Account::Mounted)
        .more(json!({"registration": {"token_value": "", "token_file": "/var/lib"}}));
    let agent = ground.agent(setup, |_| {}).await?;
    let outcome = ends_with(&agent, &["Error", "read token file", "/var/lib"]).await;
    let evidence = agent.evidence().await;
    judge(ground, "input.token", "exit code 1, and a line that names the token file", outcome, &evidence);
    if let Some(seen) = agent.plane.of("register").first() {
        ground.ledger.fail("input.token", "no registration", seen.path.clone(), &evidence);
    }
    Ok(())
}

/// The agent's most memory so far, in KiB.
async fn peak(ground: &Ground, namespace: &str) -> Result<u64, Failure> {
    let text = ground.script(At::Agent(namespace, POD), "grep -h VmHWM $STATUSES", "").await?;
    let kib = text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).max();
    kib.ok_or_else(|| Failure::expected("VmHWM of the agent", text))
}

pub async fn audit(ground: &Ground) -> Result<(), Failure> {
    let agent = ground.agent(Setup::new("k-gigabyte", Account::Mounted), |_| {}).await?;
    agent.registered().await?;
    // A gigabyte that takes no room on the disk: a thousand lines of zeros with a word at the end of each, a gap that
    // is longer than any line may be, and then one good event.
    let good = line("after-garbage", json!({}));
    let script = format!(
        ": > next && at=0 && \
         while [ $at -lt 960 ]; do at=$((at + 1)); truncate -s ${{at}}M next && echo garbage >> next || exit 1; done && \
         truncate -s 1025M next && printf '\\n%s' '{good}' >> next && mv next audit.log"
    );
    let outcome = async {
        ground.script(At::Audit("k-gigabyte", POD), &script, "").await?;
        let beats = agent.plane.of("heartbeat").len();
        let read = eventually("the event behind a gigabyte of garbage", GIGABYTE_WITHIN, || async {
            let found =
                agent.plane.audit_events().into_iter().any(|event| event["action"] == "after-garbage");
            if found { Check::Done(()) } else { Check::NotYet(agent.evidence().await) }
        });
        read.await?;
        let peak = peak(ground, "k-gigabyte").await?;
        let beats = agent.plane.of("heartbeat").len() - beats;
        if peak > MOST_KIB {
            let expected = format!("at most {MOST_KIB} KiB of memory");
            return Err(Failure::expected(expected, format!("{peak} KiB")));
        }
        let log = agent.log().await;
        let warnings = log.lines().filter(|line| line.contains("level=WARN")).count();
        Ok(format!("read; {peak} KiB of memory at most, {beats} heartbeats meanwhile, {warnings} warnings"))
    };
    let outcome = outcome.await;
    let evidence = agent.evidence().await;
    let expected = format!("the event behind it, with at most {MOST_KIB} KiB of memory");
    judge(ground, "input.audit", &expected, outcome, &evidence);
    Ok(())
}

pub async fn rights(ground: &Ground) -> Result<(), Failure> {
    let mut setup =
        Setup::new("k-no-rights", Account::Mounted).kubernetes(json!({"crd_sync_interval": "1s"}));
    setup.rights = false;
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let outcome = async {
        let refused = |line: &str| {
            (line.contains("level=ERROR") || line.contains("level=WARN"))
                && line.contains("forbidden")
                && line.contains("plexdnodestates")
        };
        let line = agent.logged("the right that is missing", refused).await?;
        ground.grant("k-no-rights").await?;
        ground.until("the node's resource", &agent.state(&node), |_| true).await?;
        Ok(format!("{line}; written once the role was there"))
    };
    let outcome = outcome.await;
    let evidence = agent.evidence().await;
    judge(ground, "input.rights", "a line that names what is forbidden, and another try", outcome, &evidence);
    Ok(())
}

pub async fn restart(ground: &Ground) -> Result<(), Failure> {
    let proxy = ground.proxy().await?;
    let setup =
        Setup::new("k-restart", Account::Behind(&proxy)).kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let path = agent.state(&node);
    ground.until("the node's resource", &path, |_| true).await?;
    let outcome = async {
        proxy.close().await;
        // It may still be at its first write.
        let complains = |line: &str| line.contains("level=WARN") || line.contains("level=ERROR");
        let failed = |line: &str| complains(line) && line.contains("crd");
        let line = agent.logged("an API server that does not answer", failed).await?;
        // What is changed meanwhile is put right, and what is reported meanwhile heard of.
        ground.merge(&path, &json!({"spec": {"meshIp": "192.0.2.9"}})).await?;
        let report = json!({"status": {"report": [{"key": "meanwhile", "contentType": "text/plain",
            "payload": "x", "version": 1, "updatedAt": "2026-01-01T00:00:00Z"}]}});
        ground.merge(&format!("{path}/status"), &report).await?;
        let beats = agent.plane.of("heartbeat").len();
        eventually("two heartbeats without an API server", WITHIN, || async {
            let now = agent.plane.of("heartbeat").len();
            if now >= beats + 2 { Check::Done(()) } else { Check::NotYet(format!("{} of them", now - beats)) }
        })
        .await?;
        let asked = proxy.asked().len();
        proxy.open_again().await?;
        let right = |state: &Value| state["spec"]["meshIp"] != "192.0.2.9";
        ground.until("the resource to be put right", &path, right).await?;
        eventually("the report at the control plane", WITHIN, || async {
            match agent.plane.of("state/reports/meanwhile").len() {
                0 => Check::NotYet(agent.evidence().await),
                _ => Check::Done(()),
            }
        })
        .await?;
        let watches = proxy.asked()[asked..].iter().filter(|one| one.is("GET", "watch=true")).count();
        if watches == 0 || !proxy.asked()[asked..].iter().any(|one| one.path.contains(STATES)) {
            return Err(Failure::expected("watches that are opened again", format!("{watches} watches")));
        }
        Ok(format!("{line}; {watches} watches opened again"))
    };
    let outcome = outcome.await;
    let evidence = agent.evidence().await;
    let expected = "a warning, heartbeats meanwhile, and everything caught up with afterwards";
    judge(ground, "input.api-restart", expected, outcome, &evidence);
    Ok(())
}

/// An agent that was started in a cluster without its definitions.
pub struct Early<'g> {
    ground: &'g Ground,
    agent: Agent<'g>,
    node: String,
    said: Result<String, Failure>,
}

/// Starts an agent in a cluster that has everything but the agent's definitions, and waits for what it says.
///
/// # Errors
/// When it cannot be started, or does not register.
pub async fn before_definitions(ground: &Ground) -> Result<Early<'_>, Failure> {
    let setup =
        Setup::new("k-no-definitions", Account::Mounted).kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let missing = |line: &str| {
        (line.contains("level=ERROR") || line.contains("level=WARN"))
            && line.contains("resource not found")
            && line.contains("crd")
    };
    let said = agent.logged("the definitions that are missing", missing).await;
    Ok(Early { ground, agent, node, said })
}

impl Early<'_> {
    /// Once the definitions are there.
    pub async fn after_definitions(self) {
        let outcome = async {
            let line = self.said?;
            let path = self.agent.state(&self.node);
            self.ground.until("the node's resource", &path, |_| true).await?;
            Ok(format!("{line}; written once the definitions were there"))
        };
        let outcome = outcome.await;
        let evidence = self.agent.evidence().await;
        let expected = "a line that names what is not there, and another try";
        judge(self.ground, "input.definitions", expected, outcome, &evidence);
    }
}
