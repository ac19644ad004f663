//! A node's life beyond its registration: a control plane that comes late, goes, refuses and is lied about.

use std::time::Duration;

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, consistently, eventually};
use serde_json::json;

use crate::plexd_kubernetes::agent::{Account, Agent, Setup};
use crate::plexd_kubernetes::control_plane::{
    ControlPlane, FIRST_KEY, FIRST_SEED, event, is_current, public_key,
};
use crate::plexd_kubernetes::ground::{Ground, WITHIN};

/// Waits until a route was asked so often.
async fn asked(agent: &Agent<'_>, route: &str, times: usize) -> Result<(), Failure> {
    let found = eventually(format!("{times} calls of {route}"), WITHIN, || async {
        let count = agent.plane.of(route).len();
        if count >= times {
            Check::Done(())
        } else {
            Check::NotYet(format!("{count} calls; {}", agent.evidence().await))
        }
    });
    Ok(found.await?)
}

/// The agent goes on sending heartbeats, as the node that it is.
async fn goes_on(agent: &Agent<'_>) -> Result<String, Failure> {
    asked(agent, "heartbeat", agent.plane.of("heartbeat").len() + 2).await?;
    let nodes = agent.plane.nodes().len();
    if nodes != 1 {
        return Err(Failure::expected("one node", format!("{nodes} nodes")));
    }
    Ok("two more heartbeats of the same node".to_owned())
}

async fn judge(ground: &Ground, agent: &Agent<'_>, id: &'static str, outcome: Result<String, Failure>) {
    match outcome {
        Ok(evidence) => ground.ledger.pass(id, evidence),
        Err(failure) => {
            let expected =
                failure.expected.clone().unwrap_or_else(|| "the agent goes on as the same node".into());
            ground.ledger.fail(id, expected, failure.seen, &agent.evidence().await);
        }
    }
}

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let setup = Setup::new("k-life", Account::Mounted);
    let agent = ground.agent(setup, |plane| plane.refuse("register", 503, "unavailable")).await?;
    let late = async {
        asked(&agent, "register", 2).await?;
        agent.plane.answer();
        goes_on(&agent).await
    };
    judge(ground, &agent, "life.late", late.await).await;
    for (id, status, code) in [
        ("life.gone", 503, "unavailable"),
        ("life.skew", 400, "clock_skew"),
        ("life.revoked", 401, "nsk_revoked"),
        ("life.deregistered", 404, "node_not_found"),
    ] {
        let outcome = async {
            for route in ["heartbeat", "state", "events"] {
                // An event stream that is refused for good stays closed, which is another matter.
                if status == 503 || route == "heartbeat" {
                    agent.plane.refuse(route, status, code);
                }
            }
            // Refused ones count as well: it goes on.
            goes_on(&agent).await?;
            agent.plane.answer();
            goes_on(&agent).await
        };
        judge(ground, &agent, id, outcome.await).await;
    }
    Ok(())
}

pub async fn lost_reply(ground: &Ground) -> Result<(), Failure> {
    let setup = Setup::new("k-lost", Account::Mounted);
    let agent = ground.agent(setup, ControlPlane::lose_reply).await?;
    let outcome = async {
        asked(&agent, "register", 2).await?;
        let asked = agent.plane.of("register");
        if asked[0].body != asked[1].body {
            return Err(Failure::expected("the same request again", "another one"));
        }
        goes_on(&agent).await
    };
    judge(ground, &agent, "life.lost-reply", outcome.await).await;
    Ok(())
}

/// Waits until the agent has taken an event: it asks for the state, or says that it has no use for such events.
async fn taken(agent: &Agent<'_>, id: u32, pulls: usize) -> Result<String, Failure> {
    let ids = [format!(" id={id} "), format!(" event_id={id} ")];
    let found = eventually(format!("event {id} to be taken"), WITHIN, || async {
        let now = agent.plane.of("state").len();
        let log = agent.log().await;
        let line = log.lines().find(|line| {
            let line = format!("{line} ");
            line.contains("level=DEBUG") && ids.iter().any(|id| line.contains(id))
        });
        match line {
            Some(line) => Check::Done(line.to_owned()),
            None if now > pulls => Check::Done(format!("{now} pulls of the state, {pulls} before")),
            None => Check::NotYet(agent.evidence().await),
        }
    });
    Ok(found.await?)
}

pub async fn events(ground: &Ground) -> Result<(), Failure> {
    // Only events pull the state here.
    let setup = Setup::new("k-events", Account::Mounted).more(json!({"reconcile": {"interval": "10m"}}));
    let agent = ground.agent(setup, |_| {}).await?;
    agent.registered().await?;
    asked(&agent, "events", 1).await?;
    asked(&agent, "state", 1).await?;
    let plane = &agent.plane;
    let current = plane.of("register").first().is_some_and(|seen| is_current(&seen.body));
    let first = (FIRST_SEED, FIRST_KEY);
    let good = |id| event(current, id, "policy_updated", first, &json!({"revision": 1}));
    let send = async |id: u32, frame: &str| {
        // The pull of the start is over.
        consistently("no pull", Duration::from_millis(300), || async { None }).await?;
        let pulls = plane.of("state").len();
        plane.emit(frame);
        taken(&agent, id, pulls).await
    };
    judge(ground, &agent, "life.event", send(1, &good(1)).await).await;

    let tampered = async {
        plane.emit(&good(2).replace("\"revision\":1", "\"revision\":2"));
        let refused = |line: &str| line.contains("signature verification failed");
        let line = agent.logged("the tampered event refused", refused).await?;
        send(3, &good(3)).await?;
        Ok(line)
    };
    judge(ground, &agent, "life.tampered", tampered.await).await;

    let cut = async {
        let streams = plane.of("events").len();
        let frame = good(4);
        plane.emit(&frame[..frame.len() / 2]);
        plane.cut();
        asked(&agent, "events", streams + 1).await?;
        send(5, &good(5)).await
    };
    judge(ground, &agent, "life.cut", cut.await).await;

    let rotated = async {
        let (seed, key_id) = (9, "did:web:plexsphere.test#key-2");
        let payload = if current {
            json!({"key_id": key_id, "public_key": public_key(seed), "previous_key_id": FIRST_KEY,
                   "transition_expires": "2999-01-01T00:00:00Z"})
        } else {
            json!({"current": public_key(seed), "previous": public_key(FIRST_SEED),
                   "transition_expires": "2999-01-01T00:00:00Z"})
        };
        plane.emit(&event(current, 6, "signing_key_rotated", first, &payload));
        agent.logged("the rotation", |line| line.contains("signing keys rotated via SSE")).await?;
        send(7, &event(current, 7, "policy_updated", (seed, key_id), &json!({}))).await
    };
    judge(ground, &agent, "life.rotated", rotated.await).await;
    Ok(())
}
