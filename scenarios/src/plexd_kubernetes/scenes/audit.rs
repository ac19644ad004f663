//! The API server's audit log, and the agent's end.

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use crate::plexd_kubernetes::agent::{Account, Agent, POD, Setup};
use crate::plexd_kubernetes::ground::{Ground, WITHIN};
use crate::plexd_kubernetes::hands::At;

/// The reference's own example.
const EXAMPLE: &str = r#"{"kind":"Event","verb":"create","user":{"username":"admin"},"objectRef":{"resource":"pods","namespace":"default","name":"web-1"},"responseStatus":{"code":201},"stageTimestamp":"2025-01-15T10:30:01.000000Z"}"#;
const FILE: &str = "audit.log";

async fn event(agent: &Agent<'_>, action: &str) -> Result<Value, Failure> {
    let found = eventually(format!("the event {action:?} at the control plane"), WITHIN, || async {
        match agent.plane.audit_events().into_iter().find(|event| event["action"] == action) {
            Some(event) => Check::Done(event),
            None => Check::NotYet(format!("{} audit requests", agent.plane.of("audit").len())),
        }
    });
    Ok(found.await?)
}

/// A whole event with this verb, as a line; fields given as null are left out.
pub(super) fn line(verb: &str, change: Value) -> String {
    let mut event = json!({
        "kind": "Event", "verb": verb, "user": {"username": "admin"},
        "objectRef": {"resource": "pods", "namespace": "default", "name": "web-1"},
        "responseStatus": {"code": 200}, "stageTimestamp": "2025-02-01T00:00:02Z",
        "requestReceivedTimestamp": "2025-02-01T00:00:01Z",
    });
    if let (Some(event), Some(change)) = (event.as_object_mut(), change.as_object()) {
        for (key, value) in change {
            if value.is_null() {
                event.remove(key);
            } else {
                event.insert(key.clone(), value.clone());
            }
        }
    }
    format!("{event}\n")
}

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let agent = ground.agent(Setup::new("k-audit", Account::Mounted), |_| {}).await?;
    agent.registered().await?;
    let missing = |line: &str| {
        (line.contains("level=WARN") || line.contains("level=ERROR"))
            && line.contains("audit.log")
            && line.contains("no such file")
    };
    match agent.logged("the missing audit log", missing).await {
        Ok(line) => ledger.pass("audit.missing", line),
        Err(failure) => {
            let evidence = agent.evidence().await;
            ledger.fail("audit.missing", "a warning that names the file", failure.seen, &evidence);
        }
    }
    agent.audit(">>", FILE, &format!("{EXAMPLE}\n")).await?;
    let first = event(&agent, "create").await;
    let evidence = agent.evidence().await;
    match first {
        Ok(event) if event["outcome"] == "success" && event["source"] == "k8s" => {
            ledger.pass("audit.new", event.to_string());
            ledger.pass("config.audit-default", "/var/log/kubernetes/audit/audit.log was read");
            ledger.pass("mount.audit-read-only", "read through a read-only mount");
        }
        Ok(event) => ledger.fail("audit.new", "source k8s, outcome success", event.to_string(), &evidence),
        Err(failure) => {
            // Which of the two it is, the other log tells.
            let read = agent.log().await.contains("audit events sent");
            let id =
                if read || !default_is_missing(&agent).await { "audit.new" } else { "config.audit-default" };
            ledger.fail(id, "the reference's example at the control plane", failure.seen.clone(), &evidence);
            ledger.skip("audit.new", "the agent reads another file");
            return Err(failure);
        }
    }
    lines(ground, &agent).await
}

/// Whether the agent looks for another file than the reference's.
async fn default_is_missing(agent: &Agent<'_>) -> bool {
    let log = agent.log().await;
    let last =
        log.lines().rfind(|line| line.contains("no such file") || line.contains("audit forwarding is off"));
    last.is_some_and(|line| !line.contains("/var/log/kubernetes/audit/audit.log"))
}

async fn lines(ground: &Ground, agent: &Agent<'_>) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let both = line("both-times", json!({}));
    let received = line("received-time", json!({"stageTimestamp": null}));
    let no_object = line("no-object", json!({"objectRef": null}));
    let no_status = line("no-status", json!({"responseStatus": null}));
    agent.audit(">>", FILE, &[both, received, no_object, no_status].concat()).await?;
    let judge = async |id: &'static str, action: &str, right: &dyn Fn(&Value) -> bool, expected: &str| {
        let outcome = event(agent, action).await;
        let evidence = agent.evidence().await;
        match outcome {
            Ok(event) if right(&event) => ledger.pass(id, event.to_string()),
            Ok(event) => ledger.fail(id, expected, event.to_string(), &evidence),
            Err(failure) => ledger.fail(id, expected, failure.seen, &evidence),
        }
    };
    let at = |wanted: &'static str| {
        move |event: &Value| {
            let parse = |text: &str| text.parse::<jiff::Timestamp>().ok();
            event["timestamp"].as_str().and_then(parse) == parse(wanted)
        }
    };
    let any = |_: &Value| true;
    judge("audit.stage-time", "both-times", &at("2025-02-01T00:00:02Z"), "the time of stageTimestamp").await;
    judge(
        "audit.received-time",
        "received-time",
        &at("2025-02-01T00:00:01Z"),
        "the time of requestReceivedTimestamp",
    )
    .await;
    judge("audit.no-object", "no-object", &any, "an event without objectRef").await;
    judge("audit.no-status", "no-status", &any, "an event without responseStatus").await;

    let text = format!("this is no JSON\n{}", line("after-garbage", json!({})));
    agent.audit(">>", FILE, &text).await?;
    judge("audit.malformed", "after-garbage", &any, "the line after a malformed one").await;
    match agent
        .logged("the malformed line", |line| line.contains("level=WARN") && line.contains("malformed line"))
        .await
    {
        Ok(line) => ledger.pass("audit.warned", line),
        Err(failure) => {
            let evidence = agent.evidence().await;
            ledger.fail("audit.warned", "a warning about the malformed line", failure.seen, &evidence);
        }
    }
    agent.audit(">>", FILE, &line("last", json!({}))).await?;
    let last = event(agent, "last").await;
    let often = agent.plane.audit_events().iter().filter(|event| event["action"] == "both-times").count();
    match last {
        Ok(_) if often == 1 => ledger.pass("audit.offset", "each event was sent once"),
        Ok(_) => {
            let evidence = agent.evidence().await;
            ledger.fail("audit.offset", "each event once", format!("one of them {often} times"), &evidence);
        }
        Err(failure) => {
            ledger.fail("audit.offset", "the newest event", failure.seen, &agent.evidence().await)
        }
    }
    agent.audit(">", FILE, &line("fresh", json!({}))).await?;
    judge("audit.truncated", "fresh", &any, "the first event after the truncation").await;
    Ok(())
}

pub async fn drain(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let setup = Setup::new("k-drain", Account::Mounted).more(json!({"audit": {"report_interval": "10m"}}));
    let agent = ground.agent(setup, |_| {}).await?;
    agent.registered().await?;
    agent.audit(">>", FILE, &line("pending", json!({}))).await?;
    // It runs on, whatever it read.
    let beats = agent.plane.of("heartbeat").len();
    eventually("two more heartbeats", WITHIN, || async {
        let now = agent.plane.of("heartbeat").len();
        if now >= beats + 2 { Check::Done(()) } else { Check::NotYet(format!("{now} heartbeats")) }
    })
    .await?;
    let early = agent.plane.audit_events().len();
    // The shell goes with the container, so how it ended says nothing.
    let _ = ground.script(At::Agent("k-drain", POD), "kill -TERM $AGENT", "").await;
    let code = agent.ended().await;
    let evidence = agent.evidence().await;
    match code {
        Ok(0) => ledger.pass("controller.blocks", "ran until SIGTERM, and ended with 0"),
        Ok(code) => ledger.fail("controller.blocks", "exit code 0", format!("exit code {code}"), &evidence),
        Err(failure) => ledger.fail("controller.blocks", "an end", failure.seen, &evidence),
    }
    let sent = agent.plane.audit_events();
    if sent.len() > early && sent.iter().any(|event| event["action"] == "pending") {
        ledger.pass("daemonset.drain", "the pending event was sent at the end");
    } else {
        let seen = format!("{early} events before, {} after", sent.len());
        ledger.fail("daemonset.drain", "the pending event, sent at the end", seen, &evidence);
    }
    Ok(())
}
