//! Calls of agents and people, each on a connection of its own that can be broken, and what came of them.

use plexlab_race::history::{Call, Reply};
use plexlab_rules::assignment::Decision;
use plexlab_rules::registration::Refused;
use reqwest::{Client, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::field::Request;

/// Who calls: the agents come first, then people; and with which of their requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller {
    /// The caller's number.
    pub number: u16,
    /// The request's, from 0.
    pub request: u16,
}

/// What a caller hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// An answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its body; null when there is none.
        body: Value,
    },
    /// The connection broke.
    Broken,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Asked {
    /// HTTP method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// Whose token goes along; agents have none.
    pub bearer: Option<SecretString>,
    /// By what it is known at gates; an agent by its handle.
    pub correlation: Option<String>,
    /// The body.
    pub body: Option<Value>,
}

/// The header with which callers name their requests.
const CORRELATION_ID: &str = "x-correlation-id";

/// A public key that nobody has the other half of.
const KEY: &str = "pUSup6FVosk9ukRLn31c3psrpV8HDTa3VxK16bSbIWw=";

/// A registration.
pub fn registration(base: &str, project: Uuid, token: &SecretString, handle: &str, nonce: &str) -> Asked {
    let body = json!({"project_id": project, "resource_handle": handle, "nonce": nonce, "public_key": KEY,
        "bootstrap_token": token.expose_secret()});
    let url = format!("{base}/v1/register");
    Asked { method: Method::POST, url, bearer: None, correlation: None, body: Some(body) }
}

/// A person's call about a token.
pub fn about_token(base: &str, call: Call, (project, token): (Uuid, Uuid), bearer: SecretString) -> Asked {
    let method = if matches!(call, Call::Revoke { .. }) { Method::DELETE } else { Method::GET };
    let url = format!("{base}/v1/projects/{project}/bootstrap-tokens/{token}");
    Asked { method, url, bearer: Some(bearer), correlation: None, body: None }
}

/// A person's decision about a request.
pub fn decision(base: &str, assignment: Uuid, decision: Decision, bearer: Option<SecretString>) -> Asked {
    let url = format!("{base}/v1/credential-assignments/{assignment}/{}", decision.as_str());
    let body = (decision != Decision::Approve).then(|| json!({"reason": "a race"}));
    Asked { method: Method::POST, url, bearer, correlation: None, body }
}

/// A person's declaration of a Resource with what was requested.
pub fn provision(base: &str, request: &Request, bearer: Option<SecretString>) -> Asked {
    let url = format!("{base}/v1/projects/{}/resources", request.project);
    Asked { method: Method::POST, url, bearer, correlation: None, body: Some(declaration(request)) }
}

/// What a Resource is declared with.
pub(super) fn declaration(request: &Request) -> Value {
    json!({
        "origin": "provisioned", "kind": "node", "blueprint_version_id": request.version,
        "cloud_credential_id": request.credential, "parameters": {},
    })
}

/// A person's deletion of a Resource.
pub(super) fn deletion(base: &str, resource: Uuid, bearer: SecretString) -> Asked {
    let url = format!("{base}/v1/resources/{resource}");
    Asked { method: Method::DELETE, url, bearer: Some(bearer), correlation: None, body: None }
}

/// A client whose connections are used once.
///
/// # Errors
/// When it cannot be made.
pub fn client() -> reqwest::Result<Client> {
    Client::builder().no_proxy().pool_max_idle_per_host(0).build()
}

/// Sends it; what the caller hears goes into the channel. Aborting the task breaks the connection.
pub fn send(
    client: &Client,
    asked: Asked,
    caller: Caller,
    tell: mpsc::UnboundedSender<(Caller, Heard)>,
) -> JoinHandle<()> {
    let client = client.clone();
    tokio::spawn(async move {
        let heard = ask(&client, asked).await.unwrap_or(Heard::Broken);
        let _ = tell.send((caller, heard));
    })
}

async fn ask(client: &Client, asked: Asked) -> reqwest::Result<Heard> {
    let mut request = client.request(asked.method, asked.url);
    if let Some(bearer) = asked.bearer {
        request = request.bearer_auth(bearer.expose_secret());
    }
    if let Some(id) = asked.correlation {
        request = request.header(CORRELATION_ID, id);
    }
    if let Some(body) = asked.body {
        request = request.json(&body);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    // Read to its end: an answer that was cut off is none.
    let bytes = response.bytes().await?;
    Ok(Heard::Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
}

/// An answer as histories have it; the Node of a winner is still its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Understood {
    /// 201.
    Won {
        /// The Node.
        node: Uuid,
        /// Its address.
        address: std::net::IpAddr,
    },
    /// Anything else.
    Reply(Reply),
}

/// What an answer says; none when no rule speaks of such an answer.
pub fn understood(call: Call, status: u16, body: &Value) -> Option<Understood> {
    let code = body["code"].as_str().unwrap_or_default();
    let reply = match (call, status) {
        (_, 500) => Reply::Internal,
        (_, 503) if code == "datastore_unavailable" => Reply::Unavailable,
        (Call::Redeem { .. }, 201) => {
            let node = body["node_id"].as_str()?.parse().ok()?;
            let address = body["mesh_ip"].as_str()?.parse().ok()?;
            return Some(Understood::Won { node, address });
        }
        (Call::Redeem { .. }, 401) => Reply::Refused(Refused::UnknownToken),
        (Call::Redeem { .. }, 403 | 404 | 503) => {
            Reply::Refused(serde_json::from_value(Value::from(code)).ok()?)
        }
        (Call::Revoke { .. }, 204)
        | (Call::Decide { .. }, 200)
        | (Call::Provision { .. } | Call::Delete { .. }, 202) => Reply::Done,
        (Call::Revoke { .. } | Call::Decide { .. }, 409) => Reply::Terminal,
        (Call::Decide { .. }, 403) if code == "self_approval_denied" => Reply::Denied,
        (Call::Provision { .. }, 403) if code == "permission_denied" => Reply::Denied,
        (Call::Read { .. }, 200) => Reply::State {
            consumed: body.get("consumed_at").is_some_and(Value::is_string),
            revoked: body.get("revoked_at").is_some_and(Value::is_string),
        },
        _ => return None,
    };
    Some(Understood::Reply(reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDEEM: Call = Call::Redeem { token: 0, nonce: 1 };

    #[test]
    fn the_contracts_answers_are_understood_and_others_are_not() {
        let refused = |status, code: &str| understood(REDEEM, status, &json!({"code": code}));
        let reply = |reply| Some(Understood::Reply(reply));
        assert_eq!(refused(403, "token_consumed"), reply(Reply::Refused(Refused::TokenConsumed)));
        assert_eq!(refused(503, "pool_exhausted"), reply(Reply::Refused(Refused::PoolExhausted)));
        assert_eq!(refused(503, "datastore_unavailable"), reply(Reply::Unavailable));
        assert_eq!(refused(401, "unauthenticated"), reply(Reply::Refused(Refused::UnknownToken)));
        assert_eq!(refused(403, "permission_denied"), None);
        assert_eq!(refused(422, "invariant_violation"), None);
        let won = json!({"node_id": Uuid::nil(), "mesh_ip": "10.0.0.1"});
        assert!(matches!(understood(REDEEM, 201, &won), Some(Understood::Won { .. })));
        assert_eq!(understood(REDEEM, 201, &json!({})), None, "an answer without a Node is no win");
        let read = understood(Call::Read { token: 0 }, 200, &json!({"consumed_at": "2026-01-01T00:00:00Z"}));
        assert_eq!(read, reply(Reply::State { consumed: true, revoked: false }));
        let decide = Call::Decide { assignment: 0, decision: Decision::Approve };
        let denied = |call, code: &str| understood(call, 403, &json!({"code": code}));
        assert_eq!(denied(decide, "self_approval_denied"), reply(Reply::Denied));
        assert_eq!(denied(decide, "permission_denied"), None, "everybody in a race has a say");
        let deletion = |status| understood(Call::Delete { resource: 0 }, status, &json!({}));
        assert_eq!((deletion(202), deletion(404)), (reply(Reply::Done), None), "again is the same answer");
        assert_eq!(denied(Call::Provision { assignment: 0 }, "permission_denied"), reply(Reply::Denied));
    }
}
