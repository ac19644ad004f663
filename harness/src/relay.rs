//! Ways from pods to what listens on this machine's loopback: the driver's half of the relay.
//!
//! A pod in a container does not reach 127.0.0.1 of the machine that plays with it, and nothing of plexlab listens
//! elsewhere. So a relay runs in the cluster, and this half keeps streams of port forwarding parked at it; see
//! [`plexlab_relay`]. Pods connect to [`Way::address`], and what they say arrives here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use plexlab_lab::{Check, TimedOut, eventually};
use plexlab_relay::carry::carry;
use plexlab_relay::wire::{self, PAIRED, PARKED};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

/// The image of the relay, which is one of the stand-ins'.
pub const IMAGE: &str = "plexlab.dev/relay:dev";
/// Its namespace.
const NAMESPACE: &str = "plexlab-relay";
/// Its pod.
const POD: &str = "relay";
/// Where streams are parked.
const BACK: u16 = 20_000;
/// How long the pod may take; its image is on the nodes.
const RUNS_WITHIN: Duration = Duration::from_secs(90);
/// How long one try to park a stream may take.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// How long parking may fail before that is said.
const PARKED_WITHIN: Duration = Duration::from_secs(60);
/// Streams that wait for each way: agents open a few connections at a time.
const WAITING: usize = 2;

/// There is no way.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The API server refused, or did not answer.
    #[error("make the relay in the cluster: {0}")]
    Api(Box<kube::Error>),
    /// It does not run, or no stream can be parked at it.
    #[error(transparent)]
    Late(#[from] TimedOut),
}

impl From<kube::Error> for RelayError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// Anything that carries bytes both ways.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}
type Stream = Box<dyn Bytes>;
/// Opens a stream to the relay's back.
type Opener = Arc<dyn Fn() -> BoxFuture<'static, io::Result<Stream>> + Send + Sync>;

/// A relay in a cluster.
#[derive(Clone)]
pub struct Relay {
    address: IpAddr,
    open: Opener,
    patience: Duration,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A way to one address of this machine, until dropped.
#[derive(Debug)]
pub struct Way {
    /// Where pods come in.
    pub address: SocketAddr,
    _keeping: JoinSet<()>,
}

impl Relay {
    /// Makes the relay's pod, in a namespace of its own, and waits until it runs. Both stay: they go with the cluster.
    ///
    /// # Errors
    /// [`RelayError`].
    pub async fn start(client: &Client) -> Result<Self, RelayError> {
        let namespace: Namespace = manifest(&json!({"metadata": {"name": NAMESPACE}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let pod: Pod = manifest(&json!({
            "metadata": {"name": POD, "labels": {"app.kubernetes.io/name": POD}},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": POD, "image": IMAGE, "args": ["--back", format!("$(POD_IP):{BACK}")],
                    "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                }],
            },
        }))?;
        let address = eventually("the relay's pod", RUNS_WITHIN, || async {
            match running(&pods, &pod).await {
                Ok(Ok(address)) => Check::Done(address),
                Ok(Err(why)) => Check::NotYet(why),
                Err(error) => Check::NotYet(error.to_string()),
            }
        })
        .await?;
        let open = move || forwarded(pods.clone()).boxed();
        Ok(Self { address, open: Arc::new(open), patience: PARKED_WITHIN })
    }

    /// Where pods come in: a certificate of what is behind a way must vouch for it.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A way to `local`, which may not listen yet. Returns when pods can come in.
    ///
    /// # Errors
    /// [`RelayError`].
    pub async fn way(&self, local: SocketAddr) -> Result<Way, RelayError> {
        let name = Uuid::new_v4().into_bytes();
        let (stream, port) = self.parked(&name).await?;
        let mut first = Some(stream);
        let mut keeping = JoinSet::new();
        for _ in 0..WAITING {
            keeping.spawn(self.clone().keep(name, local, first.take()));
        }
        Ok(Way { address: (self.address, port).into(), _keeping: keeping })
    }

    /// A stream that waits at the relay, and the port of its front.
    async fn parked(&self, way: &wire::Way) -> Result<(Stream, u16), TimedOut> {
        eventually("a stream parked at the relay", self.patience, || async {
            let tried = timeout(OPENED_WITHIN, self.park(way)).await;
            match tried {
                Ok(Ok(parked)) => Check::Done(parked),
                Ok(Err(error)) => Check::NotYet(error.to_string()),
                Err(_) => Check::NotYet(format!("no word within {OPENED_WITHIN:?}")),
            }
        })
        .await
    }

    async fn park(&self, way: &wire::Way) -> io::Result<(Stream, u16)> {
        let mut stream = (self.open)().await?;
        stream.write_all(way).await?;
        stream.flush().await?;
        match (stream.read_u8().await?, stream.read_u16().await?) {
            (PARKED, port) => Ok((stream, port)),
            (other, _) => Err(io::Error::other(format!("the relay said {other} and not {PARKED}"))),
        }
    }

    /// Keeps one stream parked. Once it is somebody's, it leads to `local`, and the next one is parked.
    async fn keep(self, way: wire::Way, local: SocketAddr, mut first: Option<Stream>) {
        let mut carrying = JoinSet::new();
        loop {
            let parked = match first.take() {
                Some(stream) => Ok(stream),
                None => self.parked(&way).await.map(|(stream, _)| stream),
            };
            let mut stream = match parked {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "no stream waits for a way of pods to this machine");
                    continue;
                }
            };
            // An end means that the relay is gone, or that the stream was cut while it waited.
            if stream.read_u8().await.is_ok_and(|word| word == PAIRED) {
                carrying.spawn(async move {
                    // Whoever came sees the connection end, as at a server that is gone.
                    if let Ok(behind) = TcpStream::connect(local).await {
                        let _ = behind.set_nodelay(true);
                        carry(stream, behind).await;
                    }
                });
            }
            while carrying.try_join_next().is_some() {}
        }
    }
}

fn manifest<T: serde::de::DeserializeOwned>(object: &serde_json::Value) -> Result<T, kube::Error> {
    T::deserialize(object).map_err(kube::Error::SerdeError)
}

/// The pod's address once it runs, or why it does not yet. Makes it, if that was not possible before: a fresh namespace
/// has no service account for a moment.
async fn running(pods: &Api<Pod>, wanted: &Pod) -> Result<Result<IpAddr, String>, kube::Error> {
    let Some(pod) = pods.get_opt(&wanted.name_any()).await? else {
        pods.create(&PostParams::default(), wanted).await?;
        return Ok(Err("made a moment ago".to_owned()));
    };
    let status = pod.status.unwrap_or_default();
    let is_running = status.phase.as_deref() == Some("Running");
    Ok(match status.pod_ip.as_deref().map(str::parse) {
        Some(Ok(address)) if is_running => Ok(address),
        _ => {
            let containers = status.container_statuses.unwrap_or_default();
            let waiting =
                containers.into_iter().find_map(|one| one.state?.waiting?.reason).unwrap_or_default();
            Err(format!("{} {waiting}", status.phase.unwrap_or_default()).trim().to_owned())
        }
    })
}

/// A stream of port forwarding to the relay's back. The forwarding ends with the stream.
async fn forwarded(pods: Api<Pod>) -> io::Result<Stream> {
    let mut forwarder = pods.portforward(POD, &[BACK]).await.map_err(io::Error::other)?;
    let stream = forwarder.take_stream(BACK).ok_or_else(|| io::Error::other("no stream"))?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    /// A relay of this process, reached without port forwarding.
    async fn started() -> (plexlab_relay::Relay, Relay) {
        let served = plexlab_relay::serve((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let back = served.back;
        let open: Opener = Arc::new(move || {
            async move {
                let stream: Stream = Box::new(TcpStream::connect(back).await?);
                Ok(stream)
            }
            .boxed()
        });
        (served, Relay { address: back.ip(), open, patience: PARKED_WITHIN })
    }

    async fn ask(address: SocketAddr, text: &str) -> String {
        let asked = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        };
        timeout(Duration::from_secs(20), asked).await.expect("an answer").unwrap_or_default()
    }

    /// Says everything back, with a name in front.
    async fn echo(name: &'static str) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut text = String::new();
                    stream.read_to_string(&mut text).await.unwrap();
                    stream.write_all(format!("{name} {text}").as_bytes()).await.unwrap();
                });
            }
        });
        (address, serving)
    }

    #[tokio::test]
    async fn more_connections_than_streams_that_wait_all_arrive_where_their_way_leads() {
        let (_served, relay) = started().await;
        let ((one, _first), (other, _second)) = (echo("one").await, echo("other").await);
        let (to_one, to_other) = (relay.way(one).await.unwrap(), relay.way(other).await.unwrap());
        let mut asking = JoinSet::new();
        for number in 0..5 * WAITING {
            let (one, other) = (to_one.address, to_other.address);
            asking.spawn(async move {
                let text = number.to_string();
                assert_eq!(ask(one, &text).await, format!("one {text}"));
                assert_eq!(ask(other, &text).await, format!("other {text}"));
            });
        }
        asking.join_all().await;
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_a_connection_that_ends_and_is_found_again_when_it_is_back() {
        let (_served, relay) = started().await;
        let (address, serving) = echo("first").await;
        let way = relay.way(address).await.unwrap();
        assert_eq!(ask(way.address, "x").await, "first x");
        drop(serving);
        eventually("the port to be free", Duration::from_secs(20), || async {
            match TcpStream::connect(address).await {
                Ok(_) => Check::NotYet("it is open".to_owned()),
                Err(_) => Check::Done(()),
            }
        })
        .await
        .unwrap();
        assert_eq!(ask(way.address, "x").await, "");
        let listener = TcpListener::bind(address).await.unwrap();
        let asking = tokio::spawn(async move { ask(way.address, "y").await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "y");
        stream.write_all(b"again").await.unwrap();
        drop(stream);
        assert_eq!(asking.await.unwrap(), "again");
    }

    #[tokio::test]
    async fn a_relay_that_is_not_there_is_named_with_the_reason() {
        let open: Opener = Arc::new(|| async { Err(io::Error::other("no such pod")) }.boxed());
        let relay = Relay { address: Ipv4Addr::LOCALHOST.into(), open, patience: Duration::from_millis(50) };
        let error = relay.way((Ipv4Addr::LOCALHOST, 1).into()).await.unwrap_err().to_string();
        assert!(error.contains("parked at the relay") && error.contains("no such pod"), "{error}");
    }
}
