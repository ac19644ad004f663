//! A control plane that one agent meets: says what it is told to, in both dialects, and remembers every request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::ways::{Reached, Ways};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use plexlab_harness::run::Failure;
use plexlab_lab::listen::AbortConnection;
use plexlab_lab::{Running, bind_loopback, serve};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A token that names its Project, as the current generation needs it; the legacy one takes any text.
pub const TOKEN: &str = "psb_test_aebagbafaydqqbrhibbsa3kqaq_node_canarycanarycanary22";
/// 32 characters: the legacy credential, and the bytes of the current one.
pub const NODE_SECRET: &str = "nsk-0123456789abcdef0123456789ab";
/// The node's address in the mesh.
pub const MESH_IP: &str = "100.64.0.1";
const NONCE: [u8; 12] = [9; 12];

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// The path below `/v1`.
    pub path: String,
    /// The body, inflated.
    pub body: String,
}

impl Seen {
    /// The path without the node: `heartbeat`, `state/reports/KEY`.
    pub fn route(&self) -> &str {
        let mut parts = self.path.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("nodes"), Some(_), Some(route)) => route,
            _ => &self.path,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    seen: Vec<Seen>,
    /// Node ids by public key.
    nodes: BTreeMap<String, String>,
    /// The id of the next node that registers.
    expected: Option<String>,
    state: Map<String, Value>,
    secrets: BTreeMap<String, (i64, String)>,
    /// Statuses and codes by route, instead of what would be answered.
    refused: BTreeMap<String, (u16, &'static str)>,
    /// How many replies to a registration are still to be lost.
    lost: u32,
    /// Open event streams.
    streams: Vec<UnboundedSender<String>>,
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Its base URL, for pods.
    pub url: String,
    inner: Arc<Mutex<Inner>>,
    _reached: Reached,
    _running: Running,
}

impl ControlPlane {
    /// Starts one that takes in every node.
    ///
    /// # Errors
    /// When there is no port, or no way to it.
    pub async fn start(ways: &Ways) -> Result<Self, Failure> {
        let inner = Arc::<Mutex<Inner>>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let listener = bind_loopback(([127, 0, 0, 1], 0).into()).await?;
        let running = serve(listener, None, router)?;
        let reached = ways.to(running.address()).await?;
        let url = format!("http://{}", reached.address);
        Ok(Self { url, inner, _reached: reached, _running: running })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner().seen.clone()
    }

    /// What was asked of one route.
    pub fn of(&self, route: &str) -> Vec<Seen> {
        self.inner().seen.iter().filter(|seen| seen.route() == route).cloned().collect()
    }

    /// The ids of the nodes that registered.
    pub fn nodes(&self) -> Vec<String> {
        self.inner().nodes.values().cloned().collect()
    }

    /// Sets metadata, data and secret references of every node's state, in both dialects' forms.
    pub fn say(&self, metadata: &[(&str, &str)], data: &[(&str, &str)], secrets: &[(&str, i64)]) {
        let pairs = |list: &[(&str, &str)]| -> Vec<Value> {
            list.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
        };
        let old_data: Vec<Value> = data
            .iter()
            .map(|(key, value)| {
                json!({"key": key, "content_type": "text/plain", "payload": value, "version": 1})
            })
            .collect();
        let refs: Vec<Value> =
            secrets.iter().map(|(key, version)| json!({"key": key, "version": version})).collect();
        let map: Map<String, Value> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let block = json!({"metadata": pairs(metadata), "data": pairs(data), "reports": []});
        let state = json!({
            "peers": [], "policy": null, "bridge": null, "state": block, "reports": block,
            "reachability": {"status": "active"},
            "metadata": map, "data": old_data, "secret_refs": refs,
        });
        if let Value::Object(state) = state {
            self.inner().state = state;
        }
    }

    /// The id that the next node to register gets.
    pub fn expect(&self) -> String {
        let id = uuid::Uuid::now_v7().to_string();
        self.inner().expected = Some(id.clone());
        id
    }

    /// Sets the value of a secret.
    pub fn secret(&self, key: &str, version: i64, value: &str) {
        self.inner().secrets.insert(key.to_owned(), (version, value.to_owned()));
    }

    /// Answers a route with a status and a code from now on.
    pub fn refuse(&self, route: &str, status: u16, code: &'static str) {
        self.inner().refused.insert(route.to_owned(), (status, code));
    }

    /// Answers everything again.
    pub fn answer(&self) {
        self.inner().refused.clear();
    }

    /// Loses the next reply to a registration, after it has taken effect.
    pub fn lose_reply(&self) {
        self.inner().lost = 1;
    }

    /// Sends this on every open event stream.
    pub fn emit(&self, frame: &str) {
        self.inner().streams.retain(|stream| stream.send(frame.to_owned()).is_ok());
    }

    /// Ends every open event stream.
    pub fn cut(&self) {
        self.inner().streams.clear();
    }

    /// The actions of all audit events that were sent, in order, with their other fields.
    pub fn audit_events(&self) -> Vec<Value> {
        let lines = self.of("audit").into_iter().flat_map(|seen| {
            seen.body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>()
        });
        lines.collect()
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let zipped = head.headers.get("content-encoding").is_some_and(|value| value == "gzip");
    let octets = head.headers.get("accept").is_some_and(|value| value == "application/octet-stream");
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let seen = Seen {
        at: Instant::now(),
        method: head.method.to_string(),
        path: head.uri.path().trim_start_matches("/v1/").to_owned(),
        body: text(&bytes, zipped),
    };
    let mut inner = lock(&inner);
    inner.seen.push(seen.clone());
    let route = seen.route();
    if let Some((status, code)) = inner.refused.get(route) {
        let problem = json!({"type": "about:blank", "title": "refused", "status": status, "code": code});
        return json_reply(*status, &problem);
    }
    if route == "register" && inner.lost > 0 {
        inner.lost -= 1;
        register(&mut inner, &seen.body);
        return AbortConnection::response();
    }
    if let Some(key) = route.strip_prefix("secrets/") {
        return match inner.secrets.get(key) {
            Some((version, value)) => secret(*version, value, key, octets),
            None => json_reply(404, &json!({"status": 404, "code": "not_found"})),
        };
    }
    match (seen.method.as_str(), route) {
        ("POST", "register") => json_reply(201, &register(&mut inner, &seen.body)),
        ("POST", "heartbeat") => json_reply(200, &json!({"reconcile": false, "rotate_keys": false})),
        ("GET", "state") => json_reply(200, &Value::Object(inner.state.clone())),
        ("GET", "events") => events(&mut inner),
        ("POST", "audit") => {
            let records = seen.body.lines().count();
            json_reply(202, &json!({"accepted_at": jiff::Timestamp::now().to_string(), "records": records}))
        }
        ("PUT", other) if other.starts_with("state/reports/") => json_reply(
            200,
            &json!({"accepted_at": jiff::Timestamp::now().to_string(),
                    "key": other.trim_start_matches("state/reports/")}),
        ),
        _ => json_reply(204, &Value::Null),
    }
}

fn text(bytes: &Bytes, zipped: bool) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    if zipped {
        // As much as could be read of a broken body is what was sent.
        let _ = flate2::read::GzDecoder::new(bytes.as_ref()).read_to_end(&mut text);
    } else {
        text.extend_from_slice(bytes);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn register(inner: &mut Inner, body: &str) -> Value {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let key = asked["public_key"].as_str().unwrap_or_default().to_owned();
    if !inner.nodes.contains_key(&key) {
        let id = inner.expected.take().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        inner.nodes.insert(key.clone(), id);
    }
    let node = inner.nodes.get(&key);
    json!({
        "node_id": node, "mesh_ip": MESH_IP, "signing_public_key": public_key(FIRST_SEED),
        "signing_key_id": FIRST_KEY, "domain_mesh_cidr": "100.64.0.0/10",
        "nsk": STANDARD.encode(NODE_SECRET), "node_secret_key": NODE_SECRET,
        "peer_snapshot": [], "peers": [],
    })
}

/// The id of the first signing key.
pub const FIRST_KEY: &str = "did:web:plexsphere.test#key-1";

/// The public half of the signing key of this seed, standard base64.
pub fn public_key(seed: u8) -> String {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]);
    pair.map(|pair| STANDARD.encode(pair.public_key().as_ref())).unwrap_or_default()
}

/// The seed of the first signing key.
pub const FIRST_SEED: u8 = 7;

/// Whether the agent asked as the current generation does.
pub fn is_current(registration: &str) -> bool {
    serde_json::from_str::<Value>(registration).is_ok_and(|asked| asked["bootstrap_token"].is_string())
}

/// A signed event as a frame of the stream, in the dialect of either generation.
pub fn event(current: bool, id: u32, kind: &str, (seed, key_id): (u8, &str), payload: &Value) -> String {
    let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let signed = if current {
        format!(
            "{{\"id\":\"{id}\",\"type\":\"{kind}\",\"scope\":\"domain:d\",\"key_id\":\"{key_id}\",\"issued_at\":\"{at}\",\"payload\":{payload}}}"
        )
    } else {
        format!(
            "{{\"event_type\":\"{kind}\",\"event_id\":\"{id}\",\"issued_at\":\"{at}\",\"nonce\":\"nonce-{id}\",\"payload\":{payload}}}"
        )
    };
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]);
    let signature =
        pair.map(|pair| STANDARD.encode(pair.sign(signed.as_bytes()).as_ref())).unwrap_or_default();
    let open = signed.strip_suffix('}').unwrap_or(&signed);
    format!("id: {id}\nevent: {kind}\ndata: {open},\"signature\":\"{signature}\"}}\n\n")
}

fn secret(version: i64, value: &str, key: &str, octets: bool) -> Response {
    let sealed = sealed(value);
    if !octets {
        let (nonce, rest) = sealed.split_at(NONCE.len());
        return json_reply(
            200,
            &json!({"key": key, "version": version, "nonce": STANDARD.encode(nonce),
                    "ciphertext": STANDARD.encode(rest)}),
        );
    }
    let builder = Response::builder()
        .header("content-type", "application/octet-stream")
        .header("cache-control", "no-store")
        .header("x-plexsphere-secret-kid", "nsk-1")
        .header("x-plexsphere-secret-version", version);
    builder.body(Body::from(sealed)).unwrap_or_default()
}

/// `nonce ‖ ciphertext ‖ tag` under the node's secret key.
pub fn sealed(value: &str) -> Vec<u8> {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let mut bytes = value.as_bytes().to_vec();
    if let Ok(key) = UnboundKey::new(&AES_256_GCM, NODE_SECRET.as_bytes()) {
        let nonce = Nonce::assume_unique_for_key(NONCE);
        // Fails only for values of gigabytes.
        let _ = LessSafeKey::new(key).seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes);
    }
    [&NONCE[..], &bytes].concat()
}

/// A stream that says hello and stays open, for what is emitted.
fn events(inner: &mut Inner) -> Response {
    let (into, frames) = unbounded_channel();
    // The receiver is here, so it is open.
    let _ = into.send(":connected\n\n".to_owned());
    inner.streams.push(into);
    let frames = futures::stream::unfold(frames, |mut frames| async move {
        let frame = frames.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(frame)), frames))
    });
    let builder = Response::builder().header("content-type", "text/event-stream");
    builder.body(Body::from_stream(frames)).unwrap_or_default()
}

fn json_reply(status: u16, value: &Value) -> Response {
    let body = if status == 204 { Body::empty() } else { Body::from(value.to_string()) };
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let builder = Response::builder().status(status).header("content-type", kind);
    builder.body(body).unwrap_or_default()
}
