//! A door in front of the cluster's API server, with a certificate authority of its own: what an agent sends is seen,
//! and can be refused.
//!
//! Requests go on as they came, credentials included: what the agent may do is still the cluster's to say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use plexlab_harness::run::Failure;
use plexlab_lab::{Running, bind_loopback, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ways::{Reached, Ways};

/// A request that an agent made.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Authorization` header, empty without one.
    pub authorization: String,
    /// The body as JSON; null without one.
    pub body: Value,
}

impl Asked {
    /// Whether it is this method on a path with this in it.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What to answer instead of the API server: a status, for requests of this method with this in their path.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The method.
    pub method: &'static str,
    /// A part of the path.
    pub part: &'static str,
    /// The status code.
    pub code: u16,
    /// The reason of the `Status`.
    pub reason: &'static str,
    /// How often.
    pub times: u32,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    asked: Mutex<Vec<Asked>>,
    refusals: Mutex<Vec<Refusal>>,
}

/// A running door.
#[derive(Debug)]
pub struct ApiProxy {
    /// Where it is, for pods.
    pub address: SocketAddr,
    /// The authority that vouches for it, PEM.
    pub ca: String,
    local: SocketAddr,
    _reached: Reached,
    shared: Arc<Shared>,
    tls: Arc<rustls::ServerConfig>,
    running: Mutex<Option<Running>>,
}

impl ApiProxy {
    /// A door in front of the API server at `upstream`.
    ///
    /// # Errors
    /// When there is no port, no way to it, or no certificate can be made.
    pub async fn start(upstream: SocketAddr, ways: &Ways) -> Result<Self, Failure> {
        let (tls, ca) = certificates(ways.names())?;
        let shared = Arc::new(Shared { upstream, asked: Mutex::default(), refusals: Mutex::default() });
        let running = open(([127, 0, 0, 1], 0).into(), &tls, &shared).await?;
        let local = running.address();
        let reached = ways.to(local).await?;
        let (address, running) = (reached.address, Mutex::new(Some(running)));
        Ok(Self { address, ca, local, _reached: reached, shared, tls, running })
    }

    /// Goes away, as an API server that is restarted: open connections end, new ones are refused.
    pub async fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.stop().await;
        }
    }

    /// Is back where it was.
    ///
    /// # Errors
    /// When its port is taken.
    pub async fn open_again(&self) -> Result<(), Failure> {
        let running = open(self.local, &self.tls, &self.shared).await?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses this from now on, and nothing else.
    pub fn refuse(&self, refusals: &[Refusal]) {
        *self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner) = refusals.to_vec();
    }
}

async fn open(
    address: SocketAddr,
    tls: &Arc<rustls::ServerConfig>,
    shared: &Arc<Shared>,
) -> Result<Running, Failure> {
    let router = Router::new().fallback(pass).with_state(Arc::clone(shared));
    Ok(serve(bind_loopback(address).await?, Some(Arc::clone(tls)), router)?)
}

/// A server's side of TLS under these names, and the authority behind it.
pub fn certificates(names: Vec<String>) -> Result<(Arc<rustls::ServerConfig>, String), Failure> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let own = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    let private = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| Failure::error("make a key for TLS", error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], private)?;
    Ok((Arc::new(config), authority.pem()))
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let asked = Asked {
        at: Instant::now(),
        method: head.method.to_string(),
        path: head.uri.to_string(),
        authorization: authorization.unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    let refusal = {
        let mut refusals = shared.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |refusal: &&mut Refusal| refusal.times > 0 && asked.is(refusal.method, refusal.part);
        refusals.iter_mut().find(fits).map(|refusal| {
            refusal.times -= 1;
            refusal.clone()
        })
    };
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    if let Some(Refusal { code, reason, .. }) = refusal {
        return status(code, reason, "refused by the conformance suite");
    }
    match forward(shared.upstream, head, bytes).await {
        Ok(response) => response,
        Err(error) => status(502, "InternalError", &error.to_string()),
    }
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let builder = Response::builder().status(code).header("content-type", "application/json");
    builder.body(Body::from(body.to_string())).unwrap_or_default()
}

async fn forward(
    upstream: SocketAddr,
    mut head: http::request::Parts,
    body: Bytes,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(upstream).await?;
    // The agent is what is tested, not the way from here to the cluster of this run.
    let connector = TlsConnector::from(plexlab_lab::tls::unverified_client());
    let stream = connector.connect(ServerName::from(upstream.ip()), stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    head.version = http::Version::HTTP_11;
    head.headers.insert("host", upstream.to_string().parse()?);
    let request = http::Request::from_parts(head, Full::new(body));
    let response = sender.send_request(request).await?;
    Ok(response.map(Body::new))
}
