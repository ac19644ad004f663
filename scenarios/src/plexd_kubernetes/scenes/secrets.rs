//! Secret references, and the Secrets that they become.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use crate::plexd_kubernetes::agent::{Account, Agent, Setup};
use crate::plexd_kubernetes::api_proxy::{ApiProxy, Refusal};
use crate::plexd_kubernetes::control_plane::{ControlPlane, sealed};
use crate::plexd_kubernetes::ground::{Ground, WITHIN};

const NAMESPACE: &str = "k-secrets";
const SECRETS: &str = "/secrets/";

/// The values of a Secret, decoded.
fn values(secret: &Value) -> Vec<Vec<u8>> {
    let data = secret["data"].as_object().cloned().unwrap_or_default();
    data.values().filter_map(|value| STANDARD.decode(value.as_str()?).ok()).collect()
}

fn contains(values: &[Vec<u8>], wanted: &[u8]) -> bool {
    values.iter().any(|value| value.windows(wanted.len()).any(|window| window == wanted))
}

/// The Secrets of the node, but for what the cluster makes itself.
fn owned(list: &Value, state: &Value) -> Option<Value> {
    let items = list["items"].as_array()?;
    let of = |secret: &&Value| secret["metadata"]["ownerReferences"][0]["uid"] == state["metadata"]["uid"];
    items.iter().find(of).cloned()
}

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let say = |plane: &ControlPlane| {
        plane.secret("tls", 1, "first-canary-value");
        plane.say(&[], &[], &[("tls", 1)]);
    };
    let proxy = ground.proxy().await?;
    let setup = Setup::new(NAMESPACE, Account::Behind(&proxy)).kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, say).await?;
    let node = agent.registered().await?;
    let path = agent.state(&node);
    let state = ground.until("the node's resource", &path, |_| true).await?;
    let list = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let made = ground.until("a Secret of the node", &list, |list| owned(list, &state).is_some()).await;
    let evidence = agent.evidence().await;
    let secret = match made {
        Ok(list) => owned(&list, &state).unwrap_or_default(),
        Err(failure) => {
            ledger.fail("secret.create", "a Secret that the resource owns", &failure.seen, &evidence);
            return Err(failure);
        }
    };
    ledger.pass("secret.create", secret["metadata"]["name"].to_string());
    let name = secret["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let (plain, cipher) = (values(&secret), sealed("first-canary-value"));
    if !contains(&plain, b"canary") && contains(&plain, &cipher[12..]) {
        ledger.pass("secret.sealed", "the bytes that the control plane sent");
    } else {
        ledger.fail("secret.sealed", "the ciphertext, and nothing else", "other bytes", &evidence);
    }
    let refers = |state: &Value| {
        let refs = state["spec"]["secretRefs"].as_array().cloned().unwrap_or_default();
        refs.iter().any(|one| one["key"] == "tls" && one["secretName"] == name.as_str())
    };
    match ground.until("the reference", &path, refers).await {
        Ok(state) => ledger.pass("state.secret-refs", state["spec"]["secretRefs"].to_string()),
        Err(failure) => {
            ledger.fail("state.secret-refs", format!("tls in {name}"), failure.seen, &evidence);
        }
    }
    agent.plane.secret("tls", 2, "second-canary-value");
    agent.plane.say(&[], &[], &[("tls", 2)]);
    let own = format!("{list}/{name}");
    let changed = |secret: &Value| secret["data"] != Value::Null && values(secret) != plain;
    match ground.until("the newer version", &own, changed).await {
        Ok(_) => ledger.pass("secret.update", "the Secret holds the newer version"),
        Err(failure) => {
            ledger.fail("secret.update", "the newer version", failure.seen, &agent.evidence().await);
        }
    }
    agent.plane.say(&[], &[], &[]);
    match ground.until("the Secret to go", &list, |list| owned(list, &state).is_none()).await {
        Ok(_) => ledger.pass("secret.delete", "gone with its reference"),
        Err(failure) => {
            ledger.fail("secret.delete", "no Secret of the node", failure.seen, &agent.evidence().await);
            return Ok(());
        }
    }
    exists(ground, &agent, &list, &name, &state).await?;
    gone(ground, &agent, &proxy, &path).await
}

/// Somebody else made a Secret of that name before the agent does.
async fn exists(
    ground: &Ground,
    agent: &Agent<'_>,
    list: &str,
    name: &str,
    state: &Value,
) -> Result<(), Failure> {
    let foreign = json!({"metadata": {"name": name}, "stringData": {"value": "somebody else's"}});
    ground.create(list, &foreign).await?;
    agent.plane.secret("tls", 3, "third-canary-value");
    agent.plane.say(&[], &[], &[("tls", 3)]);
    let own = |secret: &Value| secret["metadata"]["ownerReferences"][0]["uid"] == state["metadata"]["uid"];
    match ground.until("the Secret to be the node's", &format!("{list}/{name}"), own).await {
        Ok(secret) => {
            ground.ledger.pass("client.secret-exists", secret["metadata"]["annotations"].to_string())
        }
        Err(failure) => {
            let evidence = agent.evidence().await;
            ground.ledger.fail("client.secret-exists", "the node's own Secret", failure.seen, &evidence);
        }
    }
    Ok(())
}

/// Somebody else deletes the Secret just before the agent does.
async fn gone(ground: &Ground, agent: &Agent<'_>, proxy: &ApiProxy, path: &str) -> Result<(), Failure> {
    let (before, said) = (proxy.asked().len(), agent.log().await.lines().count());
    proxy.refuse(&[Refusal {
        method: "DELETE",
        part: SECRETS,
        code: 404,
        reason: "NotFound",
        times: u32::MAX,
    }]);
    agent.plane.say(&[], &[], &[]);
    let outcome = async {
        eventually("the deletion of the Secret", WITHIN, || async {
            let asked = proxy.asked();
            match asked[before..].iter().find(|asked| asked.is("DELETE", SECRETS)) {
                Some(asked) => Check::Done(asked.path.clone()),
                None => Check::NotYet("none was asked for".into()),
            }
        })
        .await?;
        ground.until("the reference to go", path, |state| state["spec"]["secretRefs"] == Value::Null).await?;
        let complains = |line: &&str| {
            (line.contains("level=WARN") || line.contains("level=ERROR")) && line.contains("secret")
        };
        match agent.log().await.lines().skip(said).find(complains) {
            None => Ok("asked for, answered with 404, and nothing said of it"),
            Some(line) => Err(Failure::expected("no complaint", line)),
        }
    };
    match outcome.await {
        Ok(text) => ground.ledger.pass("client.secret-gone", text),
        Err(failure) => {
            let evidence = agent.evidence().await;
            ground.ledger.fail(
                "client.secret-gone",
                "a deletion without a complaint",
                failure.seen,
                &evidence,
            );
        }
    }
    Ok(())
}
