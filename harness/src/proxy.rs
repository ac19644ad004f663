//! An HTTP proxy in front of a component, real or not: its exchanges can be held, lost, delayed and doubled.
//!
//! | gate | who waits there | verdicts |
//! |---|---|---|
//! | `request` | a request that arrived, before it goes on | go, lose (nobody gets it), twice (the component gets it twice) |
//! | `response` | an answer that the component gave, before it goes back | go, lose (the connection is closed) |
//!
//! Only exchanges at the chosen path come to the gates; all others pass as they are, streams included. The proxy has the
//! stand-ins' routes under `/__lab/`: gates, faults and the record of exchanges.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use jiff::Timestamp;
use plexlab_lab::listen::AbortConnection;
use plexlab_lab::recorder::note;
use plexlab_lab::{Faults, Gates, ListenError, Recorder, Running, Verdict, bind_loopback, serve};
use reqwest::Client;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// The names of the gates.
pub const GATES: [&str; 2] = [REQUEST, RESPONSE];
/// A request that arrived.
pub const REQUEST: &str = "request";
/// An answer that was given.
pub const RESPONSE: &str = "response";
/// The largest request that is held, in bytes.
const LARGEST: usize = 1 << 20;

/// The proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The listener has no address.
    #[error("serve a proxy: {0}")]
    Serve(#[from] std::io::Error),
    /// There is no client.
    #[error("make the proxy's client: {0}")]
    Client(#[from] reqwest::Error),
}

/// A running proxy. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Proxy {
    running: Running,
    gates: Gates,
    faults: Faults,
    recorder: Recorder,
    last: Arc<Mutex<Last>>,
    broken: Arc<Notify>,
}

/// The last exchange that came to the gates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Last {
    /// How many there were, this one included.
    pub number: u64,
    /// What was asked.
    pub request: Bytes,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    #[default]
    Pending,
    /// The component answered.
    Answered(u16, Bytes),
    /// Whoever asked hears nothing.
    Broken,
}

/// An exchange at the held path, as it passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passing {
    /// It was asked, and nobody has it yet.
    Asked {
        /// When.
        at: Timestamp,
        /// Its number among the exchanges, from 1.
        number: u64,
        /// What was asked.
        request: Bytes,
    },
    /// It is over.
    Over {
        /// When.
        at: Timestamp,
        /// Its number.
        number: u64,
        /// What came of it; never pending.
        outcome: Outcome,
    },
}

/// One exchange; that it is over is told however it ends, also when whoever asked is gone.
#[derive(Debug)]
struct Passage {
    number: u64,
    outcome: Outcome,
    tell: Option<UnboundedSender<Passing>>,
}

impl Passage {
    fn begin(way: &Way, number: u64, request: Bytes) -> Self {
        let tell = way.tell.clone();
        if let Some(tell) = &tell {
            let _ = tell.send(Passing::Asked { at: Timestamp::now(), number, request });
        }
        Self { number, outcome: Outcome::Broken, tell }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(tell) = &self.tell {
            let outcome = std::mem::take(&mut self.outcome);
            let _ = tell.send(Passing::Over { at: Timestamp::now(), number: self.number, outcome });
        }
    }
}

#[derive(Debug, Clone)]
struct Way {
    tell: Option<UnboundedSender<Passing>>,
    last: Arc<Mutex<Last>>,
    broken: Arc<Notify>,
    upstream: String,
    held: String,
    client: Client,
    gates: Gates,
}

impl Proxy {
    /// Starts one in front of the component at `upstream` (a base URL); exchanges at the path `held` come to the gates.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub async fn start(upstream: &str, held: &str) -> Result<Self, ProxyError> {
        Self::begin(upstream, held, None).await
    }

    /// The same; every exchange at the held path is told, too.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub async fn telling(
        upstream: &str,
        held: &str,
        tell: UnboundedSender<Passing>,
    ) -> Result<Self, ProxyError> {
        Self::begin(upstream, held, Some(tell)).await
    }

    async fn begin(
        upstream: &str,
        held: &str,
        tell: Option<UnboundedSender<Passing>>,
    ) -> Result<Self, ProxyError> {
        let listener = bind_loopback(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let (gates, faults, recorder) = (Gates::new(&GATES), Faults::default(), Recorder::default());
        let way = Way {
            tell,
            upstream: upstream.trim_end_matches('/').to_owned(),
            held: held.to_owned(),
            // Every request on a connection of its own: one that is broken off breaks no other.
            client: Client::builder()
                .no_proxy()
                .no_gzip()
                .pool_max_idle_per_host(0)
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
            gates: gates.clone(),
            last: Arc::default(),
            broken: Arc::default(),
        };
        let (last, broken) = (way.last.clone(), way.broken.clone());
        let router = Router::new().fallback(pass).with_state(way).merge(gates.routes());
        let router = plexlab_lab::control::instrument(router, recorder.clone(), faults.clone());
        Ok(Self { running: serve(listener, None, router)?, gates, faults, recorder, last, broken })
    }

    /// Base of its URLs.
    pub fn url(&self) -> String {
        format!("http://{}", self.running.address())
    }

    /// Its gates.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The record of exchanges.
    pub fn requests(&self) -> &Recorder {
        &self.recorder
    }

    /// The last exchange that came to the gates.
    pub fn last(&self) -> Last {
        locked(&self.last).clone()
    }

    /// Breaks off the exchanges that are under way at the held path, on both sides.
    pub fn break_off(&self) {
        self.broken.notify_waiters();
    }

    /// Stops it.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

async fn pass(State(way): State<Way>, request: Request) -> Response {
    if request.uri().path() != way.held {
        return forwarded(&way, request).await.unwrap_or_else(lost);
    }
    let broken = way.broken.clone();
    let outcome = tokio::select! {
        outcome = held(&way, request) => outcome.unwrap_or_else(lost),
        () = broken.notified() => AbortConnection::response(),
    };
    if outcome.extensions().get::<AbortConnection>().is_some() {
        locked(&way.last).outcome = Outcome::Broken;
    }
    outcome
}

fn locked(last: &Mutex<Last>) -> MutexGuard<'_, Last> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The component is not there, or broke the connection: so does the proxy.
fn lost(error: reqwest::Error) -> Response {
    tracing::debug!(%error, "the component did not answer");
    AbortConnection::response()
}

/// As it comes, body and answer as streams.
async fn forwarded(way: &Way, request: Request) -> Result<Response, reqwest::Error> {
    let (head, body) = request.into_parts();
    let url = url(way, &head.uri);
    let outgoing = way.client.request(head.method, url).headers(ends_here(head.headers));
    let answer = outgoing.body(reqwest::Body::wrap_stream(body.into_data_stream())).send().await?;
    let (status, headers) = (answer.status(), ends_here(answer.headers().clone()));
    let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}

/// Through both gates.
async fn held(way: &Way, request: Request) -> Result<Response, reqwest::Error> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    };
    let who = format!("{} {}", head.method, head.uri.path());
    let number = {
        let mut last = locked(&way.last);
        *last = Last { number: last.number + 1, request: body.clone(), outcome: Outcome::Pending };
        last.number
    };
    let mut passage = Passage::begin(way, number, body.clone());
    let verdict = way.gates.judged(REQUEST, &who).await;
    if verdict == Verdict::Lose {
        return Ok(AbortConnection::response());
    }
    let (url, headers) = (url(way, &head.uri), ends_here(head.headers));
    let (status, answered, bytes) = asked(way, &head.method, &url, &headers, body.clone()).await?;
    locked(&way.last).outcome = Outcome::Answered(status.as_u16(), bytes.clone());
    if verdict == Verdict::Twice {
        // Nobody hears the answer to what arrives once more.
        asked(way, &head.method, &url, &headers, body).await?;
    }
    if way.gates.judged(RESPONSE, &format!("{who} {}", status.as_u16())).await == Verdict::Lose {
        let mut response = AbortConnection::response();
        note(&mut response, "lost", status.as_u16().to_string());
        return Ok(response);
    }
    passage.outcome = Outcome::Answered(status.as_u16(), bytes.clone());
    let mut response = Response::new(Body::from(bytes));
    (*response.status_mut(), *response.headers_mut()) = (status, answered);
    Ok(response)
}

async fn asked(
    way: &Way,
    method: &Method,
    url: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, HeaderMap, Bytes), reqwest::Error> {
    let answer = way.client.request(method.clone(), url).headers(headers.clone()).body(body).send().await?;
    let (status, headers) = (answer.status(), ends_here(answer.headers().clone()));
    Ok((status, headers, answer.bytes().await?))
}

fn url(way: &Way, uri: &http::Uri) -> String {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    format!("{}{path}", way.upstream)
}

/// Without what is of one connection only; lengths are counted anew.
fn ends_here(mut headers: HeaderMap) -> HeaderMap {
    use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
    let keep_alive = HeaderName::from_static("keep-alive");
    for name in [CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, keep_alive] {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::routing::{get, post};
    use plexlab_lab::gates::Held;
    use plexlab_lab::{Check, eventually};

    /// A component that counts what it is asked, with a proxy in front of it.
    async fn component() -> (Running, Proxy, Arc<AtomicUsize>) {
        plexlab_lab::tls::install_provider();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let register = post(move |body: String| async move {
            format!("{body} is number {}", count.fetch_add(1, Ordering::SeqCst) + 1)
        });
        let router =
            Router::new().route("/v1/register", register).route("/v1/ping", get(|| async { "pong" }));
        let listener = bind_loopback(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let running = serve(listener, None, router).unwrap();
        let upstream = format!("http://{}", running.address());
        let proxy = Proxy::start(&upstream, "/v1/register").await.unwrap();
        (running, proxy, asked)
    }

    async fn waits(proxy: &Proxy, gate: &str) -> Held {
        eventually(format!("somebody at {gate}"), Duration::from_secs(10), || async {
            let waiting = proxy.gates().waiting();
            match waiting.iter().find(|held| held.gate == gate) {
                Some(held) => Check::Done(held.clone()),
                None => Check::NotYet(format!("{waiting:?}")),
            }
        })
        .await
        .unwrap()
    }

    async fn register(url: String) -> reqwest::Result<String> {
        let client = Client::builder().no_proxy().build().unwrap();
        client.post(format!("{url}/v1/register")).body("n").send().await?.text().await
    }

    #[tokio::test]
    async fn an_answer_is_held_and_lost_after_the_component_gave_it() {
        let (_component, proxy, asked) = component().await;
        assert!(proxy.gates().set(RESPONSE, true));
        let caller = tokio::spawn(register(proxy.url()));
        let held = waits(&proxy, RESPONSE).await;
        assert_eq!(held.who, "POST /v1/register 200");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        proxy.gates().judge(held.id, Verdict::Lose);
        caller.await.unwrap().unwrap_err();
        proxy.gates().set(RESPONSE, false);
        assert_eq!(register(proxy.url()).await.unwrap(), "n is number 2");
        let record = proxy.requests().all();
        assert_eq!((record[0].status, record[0].notes["lost"].as_str()), (None, "200"));
    }

    #[tokio::test]
    async fn a_request_is_held_lost_or_doubled_before_the_component_gets_it() {
        let (_component, proxy, asked) = component().await;
        proxy.gates().set(REQUEST, true);
        for (verdict, answer, so_far) in [
            (Verdict::Lose, None, 0),
            (Verdict::Go, Some("n is number 1"), 1),
            (Verdict::Twice, Some("n is number 2"), 3),
        ] {
            let caller = tokio::spawn(register(proxy.url()));
            let held = waits(&proxy, REQUEST).await;
            proxy.gates().judge(held.id, verdict);
            assert_eq!(caller.await.unwrap().ok().as_deref(), answer, "{verdict:?}");
            assert_eq!(asked.load(Ordering::SeqCst), so_far, "{verdict:?}");
        }
        let client = Client::builder().no_proxy().build().unwrap();
        let other = client.get(format!("{}/v1/ping", proxy.url())).send().await.unwrap();
        assert_eq!(other.text().await.unwrap(), "pong", "other paths are not held");
    }
}
