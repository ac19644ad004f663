//! A client that costs little: one connection per client, HTTP/1.1 over TLS, no pool, no retries.
//!
//! Certificates are not verified, for both servers alike; see `plexlab_lab::tls`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use plexlab_lab::TimedOut;
use plexlab_lab::tls::unverified_client;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::wire::{Wire, WireError};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const MERGE_PATCH: HeaderValue = HeaderValue::from_static("application/merge-patch+json");
const TABLE: HeaderValue = HeaderValue::from_static("application/json;as=Table;v=v1;g=meta.k8s.io");

/// Characters of a refusal that are shown.
const SHOWN: usize = 300;

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("connect to {address}: {source}")]
    Connect {
        /// The server.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The connection broke, or no HTTP came over it.
    #[error("ask over HTTP: {0}")]
    Http(#[from] WireError),
    /// The server does not do what it was asked for.
    #[error("{path} was answered with {status}: {text}")]
    Refused {
        /// What was asked for.
        path: String,
        /// The answer's code.
        status: StatusCode,
        /// Its begin.
        text: String,
    },
    /// The answer is not what was expected.
    #[error("understand the answer of {path}: {why}")]
    Garbled {
        /// What was asked for.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A watch ended, or a client's task did.
    #[error("{0} ended too early")]
    Ended(&'static str),
    /// Something did not come true.
    #[error(transparent)]
    Late(#[from] TimedOut),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The type of the body.
    pub content_type: HeaderValue,
    /// The type of the answer.
    pub accept: HeaderValue,
    /// The body; empty for none.
    pub body: Bytes,
}

impl Request {
    /// Reads.
    pub fn get(path: impl Into<String>) -> Self {
        let path = path.into();
        Self { method: Method::GET, path, content_type: JSON, accept: JSON, body: Bytes::new() }
    }

    /// Reads in the form that kubectl shows.
    pub fn table(path: impl Into<String>) -> Self {
        Self { accept: TABLE, ..Self::get(path) }
    }

    /// Sends an object.
    pub fn json(method: Method, path: impl Into<String>, object: &Value) -> Self {
        Self { method, body: object.to_string().into(), ..Self::get(path) }
    }

    /// Sends a merge patch.
    pub fn merge_patch(path: impl Into<String>, patch: &Value) -> Self {
        Self { content_type: MERGE_PATCH, ..Self::json(Method::PATCH, path, patch) }
    }
}

/// A server, and who asks it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    address: SocketAddr,
    authorization: HeaderValue,
    host: HeaderValue,
}

impl Endpoint {
    /// At this address, as the owner of this token.
    pub fn new(address: SocketAddr, token: &SecretString) -> Self {
        let value =
            |text: String| HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        let mut authorization = value(format!("Bearer {}", token.expose_secret()));
        authorization.set_sensitive(true);
        Self { address, authorization, host: value(address.to_string()) }
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        let address = self.address;
        let io = |source| ClientError::Connect { address, source };
        let stream = TcpStream::connect(address).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let connector = TlsConnector::from(unverified_client());
        let stream =
            connector.connect(ServerName::IpAddress(address.ip().into()), stream).await.map_err(io)?;
        Ok(Connection { endpoint: Arc::new(self.clone()), wire: Wire::new(stream) })
    }
}

/// One connection; one request at a time.
#[derive(Debug)]
pub struct Connection {
    endpoint: Arc<Endpoint>,
    wire: Wire,
}

impl Connection {
    async fn send(&mut self, request: &Request) -> Result<StatusCode, ClientError> {
        let Request { method, path, content_type, accept, body } = request;
        let mut text = Vec::with_capacity(512 + body.len());
        text.extend_from_slice(method.as_str().as_bytes());
        text.push(b' ');
        text.extend_from_slice(path.as_bytes());
        text.extend_from_slice(b" HTTP/1.1");
        let length = body.len().to_string();
        for (name, value) in [
            ("host", self.endpoint.host.as_bytes()),
            ("authorization", self.endpoint.authorization.as_bytes()),
            ("accept", accept.as_bytes()),
            ("content-type", content_type.as_bytes()),
            ("content-length", length.as_bytes()),
        ] {
            for part in [&b"\r\n"[..], name.as_bytes(), b": ", value] {
                text.extend_from_slice(part);
            }
        }
        text.extend_from_slice(b"\r\n\r\n");
        text.extend_from_slice(body);
        Ok(self.wire.ask(&text).await?)
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&mut self, request: Request) -> Result<Answer, ClientError> {
        let status = self.send(&request).await?;
        Ok(Answer { path: request.path, status, body: self.wire.body().await? })
    }

    /// Asks, and expects a yes.
    pub async fn succeed(&mut self, request: Request) -> Result<Bytes, ClientError> {
        self.ask(request).await?.expect_success()
    }

    /// Asks each in turn; how long each took to its answer's end.
    pub async fn time_each(&mut self, requests: Vec<Request>) -> Result<Vec<Duration>, ClientError> {
        let mut times = Vec::with_capacity(requests.len());
        for request in requests {
            let begun = Instant::now();
            self.succeed(request).await?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }

    /// Begins a watch, which takes the connection.
    pub async fn watch(mut self, path: String) -> Result<Watch, ClientError> {
        let status = self.send(&Request::get(path.clone())).await?;
        if status.is_success() {
            return Ok(Watch { wire: self.wire });
        }
        let body = self.wire.body().await?;
        Answer { path, status, body }.expect_success()?;
        Err(ClientError::Ended("a watch"))
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    path: String,
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// Its body, if the server did what it was asked for, or had done it already.
    pub fn expect_success(self) -> Result<Bytes, ClientError> {
        let Self { path, status, body } = self;
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body).chars().take(SHOWN).collect();
        Err(ClientError::Refused { path, status, text })
    }
}

/// An open watch.
#[derive(Debug)]
pub struct Watch {
    wire: Wire,
}

impl Watch {
    /// Waits for more, and says how many events ended in it. An event is one line.
    pub async fn events(&mut self) -> Result<usize, ClientError> {
        let data = self.wire.data().await?.ok_or(ClientError::Ended("a watch"))?;
        Ok(data.iter().filter(|byte| **byte == b'\n').count())
    }

    /// Waits for so many events.
    pub async fn until(&mut self, events: usize) -> Result<Instant, ClientError> {
        let mut seen = 0;
        while seen < events {
            seen += self.events().await?;
        }
        Ok(Instant::now())
    }
}

/// Shares the requests among so many clients, which ask at the same time; how long each took, and all of them.
/// Connections are made before.
pub async fn time_shared(
    endpoint: &Endpoint,
    clients: usize,
    requests: Vec<Request>,
) -> Result<(Vec<Duration>, Duration), ClientError> {
    let mut shares: Vec<Vec<Request>> = vec![Vec::new(); clients];
    for (index, request) in requests.into_iter().enumerate() {
        shares[index % clients].push(request);
    }
    let connections = futures::future::try_join_all(shares.iter().map(|_| endpoint.connect())).await?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut connection, share) in connections.into_iter().zip(shares) {
        tasks.spawn(async move { connection.time_each(share).await });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended.map_err(|_| ClientError::Ended("a client"))??);
    }
    Ok((times, begun.elapsed()))
}
