//! Brings a planned stack up: executes the plan's steps on a backend.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use plexlab_lab::TimedOut;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::backend::attach::forward::ForwardError;
use crate::backend::attach::ownership::OwnershipError;
use crate::backend::{self, BackendKind, Cluster, ClusterError, ClusterSpec, StopError, Unavailable};
use crate::clouds;
use crate::clouds::secrets::DrawError;
use crate::flux;
use crate::images::{Component, ImageSource};
use crate::machine::port_owner::port_owner;
use crate::owner::NoToken;
use crate::paths::{Paths, write_private_file};
use crate::progress::Progress;
use crate::readiness::{NotReady, dynamic_api, wait_ready};
use crate::redact::Redactor;
use crate::snapshot::kept::SnapshotError;
use crate::stack::answering;
use crate::stack::beginning::{self, Beginning};
use crate::stack::manifests::ManifestError;
use crate::stack::plan::{ObjectRef, Plan, Step, plan};
use crate::stack::record::{RecordError, StackLock, StackRecord};
use crate::stack::running::{Addresses, RunningStack};
use crate::stack::secrets::Secrets;
use crate::stack::spec::{Operator, Publish, StackName, StackSpec};
use crate::timeline::{Source, Timeline};

/// How long the stack may take to become ready. A cold start takes a second or two; a loaded machine with an
/// unoptimised build gets ample room.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// The same where pods are containers: their nodes may have to pull images.
const READY_IN_CONTAINERS_WITHIN: Duration = Duration::from_secs(300);
/// How long one object may take to be accepted, retries included.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);
/// Objects applied at the same time.
const APPLY_WIDTH: usize = 8;

/// Bringing a stack up failed. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The backend cannot run on this machine.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A chosen image source cannot run on this backend.
    #[error("the {backend} backend cannot run {component}={source_given}: {why}")]
    ImageSource {
        /// On which backend.
        backend: BackendKind,
        /// Which component.
        component: Component,
        /// The source.
        source_given: String,
        /// Why not, and what would do.
        why: &'static str,
    },
    /// Clouds on a backend that cannot give them.
    #[error(
        "the {0} backend has no clouds: the operator would have to be told of their proxy and certificates on nodes that \
         are not this process's; use the embedded backend"
    )]
    Clouds(BackendKind),
    /// An owner without a control plane elsewhere.
    #[error(
        "an owner's token was given, and the control plane is the stack's own, which draws its own tokens; \
         give --image control-plane=url:URL, too"
    )]
    OwnerOfNone,
    /// The owner's token cannot be had.
    #[error(transparent)]
    Owner(#[from] NoToken),
    /// Something is left in a cluster that goes on.
    #[error(
        "{source}; moreover, the stack could not be removed from its cluster: {left}; \
         `cargo xtask down --name {name}` tries again"
    )]
    LeftBehind {
        /// Why the start failed.
        source: Box<StartError>,
        /// What is left, and why.
        left: StopError,
        /// The stack.
        name: StackName,
    },
    /// The stack's objects cannot be made in the cluster.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// The stack's directory cannot be used, or its name is taken.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The snapshot to begin with cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The clouds' certificates or keys could not be made.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// A manifest is broken.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The cluster did not start.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An object was not accepted.
    #[error("apply {object}: {}", answer(source))]
    Apply {
        /// Which object.
        object: Box<ObjectRef>,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// An object took too long to be accepted.
    #[error("apply {object}: no answer within {within:?}")]
    ApplyTimedOut {
        /// Which object.
        object: Box<ObjectRef>,
        /// The limit.
        within: Duration,
    },
    /// Something did not become ready; with the last lines of its logs.
    #[error("{source}{logs}")]
    NotReady {
        /// What, and what was seen last.
        source: NotReady,
        /// Last log lines of the pods involved, each line indented; empty when there are none.
        logs: String,
    },
    /// A Service has no address.
    #[error("read the address of Service {name}: {why}")]
    NoAddress {
        /// Which Service.
        name: String,
        /// Why not.
        why: String,
    },
    /// An address does not answer although everything is ready.
    #[error("{0}; it is the address of something that is ready: look at its logs, or start anew")]
    NotAnswering(TimedOut),
    /// The Kubernetes client could not be made.
    #[error("connect to the cluster: {0}")]
    Client(String),
    /// A file could not be written, or a port not be opened.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Brings a stack up and returns when it is ready.
///
/// # Errors
/// [`StartError`]; then nothing is left but, for a failure after the cluster ran, its evidence: the error's text.
pub async fn start(
    spec: StackSpec,
    paths: &Paths,
    timeline: Timeline,
    redactor: Redactor,
    progress: &Progress,
) -> Result<RunningStack, StartError> {
    begin(spec, None, paths, timeline, redactor, progress).await
}

/// Brings a stack up as it was when a snapshot of it (or of another) was taken, and returns when it is ready.
///
/// # Errors
/// As [`start`].
pub async fn restore(
    spec: StackSpec,
    snapshot: &Path,
    paths: &Paths,
    timeline: Timeline,
    redactor: Redactor,
    progress: &Progress,
) -> Result<RunningStack, StartError> {
    begin(spec, Some(snapshot), paths, timeline, redactor, progress).await
}

async fn begin(
    spec: StackSpec,
    snapshot: Option<&Path>,
    paths: &Paths,
    timeline: Timeline,
    redactor: Redactor,
    progress: &Progress,
) -> Result<RunningStack, StartError> {
    let begun = Instant::now();
    check(&spec)?;
    let lock = StackLock::take(paths, &spec.name)?;
    match start_in(spec, snapshot, paths, timeline, redactor, progress, lock, begun).await {
        Ok(running) => Ok(running),
        Err((error, lock)) => {
            if let Some(lock) = lock {
                // The error that stopped the start matters more than one about its left-overs.
                let _ = lock.remove_dir();
            }
            Err(error)
        }
    }
}

/// What can be refused before anything is made.
///
/// # Errors
/// [`StartError::Unavailable`], [`StartError::ImageSource`].
pub fn check(spec: &StackSpec) -> Result<(), StartError> {
    spec.backend.available()?;
    check_choices(spec)
}

/// What the backend has no use for, whatever this machine has.
///
/// # Errors
/// [`StartError::ImageSource`], [`StartError::OwnerOfNone`], [`StartError::Clouds`].
pub fn check_choices(spec: &StackSpec) -> Result<(), StartError> {
    for component in Component::ALL {
        let why = match (component, spec.images.source(component)) {
            (_, ImageSource::StandIn) => continue,
            (_, ImageSource::Image(_)) if spec.backend.has_containers() => continue,
            (_, ImageSource::Bin(_)) if spec.backend.has_containers() => {
                "a program of this machine is not on the cluster's nodes; put it into an image and use image:REF"
            }
            (Component::Postgres, _) => "Postgres is always the machine's own or the downloaded one",
            (_, ImageSource::Bin(_)) => continue,
            (_, ImageSource::Image(_)) => {
                "registry images need a container backend; use bin:PATH or stand-in"
            }
            (Component::ControlPlane, ImageSource::Url(_)) if spec.images.owner().is_none() => {
                "a control plane that runs elsewhere knows people of its own; give --owner-token-file FILE with the API \
                 token of one who may make Projects there"
            }
            (Component::ControlPlane, ImageSource::Url(url))
                if spec.backend.has_containers() && is_local(url) =>
            {
                "pods in containers do not reach this machine's loopback; give an address that they reach"
            }
            (Component::ControlPlane, ImageSource::Url(_)) => continue,
            (_, ImageSource::Url(_)) => "only the control plane can run elsewhere; use another source",
        };
        let source_given = spec.images.source(component).to_string();
        return Err(StartError::ImageSource { backend: spec.backend, component, source_given, why });
    }
    if spec.images.owner().is_some() && spec.images.remote_control_plane().is_none() {
        return Err(StartError::OwnerOfNone);
    }
    if spec.backend.has_containers() && !spec.clouds.is_empty() {
        return Err(StartError::Clouds(spec.backend));
    }
    Ok(())
}

/// Whether a URL leads to the machine on which it is followed.
fn is_local(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// What the API server said, without the wrapping of the client.
fn answer(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

type Failed = (StartError, Option<StackLock>);

/// The stack's own secrets, with the owner's at a control plane that runs elsewhere.
fn secrets(spec: &StackSpec, redactor: &Redactor) -> Result<Secrets, StartError> {
    let own = Secrets::draw(&spec.clouds, redactor).map_err(StartError::Draw)?;
    match spec.images.owner() {
        Some(owner) => Ok(own.with_owner(owner.token()?, redactor)),
        None => Ok(own),
    }
}

#[expect(clippy::too_many_arguments, reason = "all that a start is given, once")]
async fn start_in(
    mut spec: StackSpec,
    snapshot: Option<&Path>,
    paths: &Paths,
    timeline: Timeline,
    redactor: Redactor,
    progress: &Progress,
    lock: StackLock,
    begun: Instant,
) -> Result<RunningStack, Failed> {
    let secrets = match secrets(&spec, &redactor) {
        Ok(secrets) => secrets,
        Err(error) => return Err((error, Some(lock))),
    };
    let beginning = match snapshot {
        None => plan(&spec, &secrets)
            .map(|plan| Beginning { plan, nodes: spec.node_names(), origin: None })
            .map_err(StartError::from),
        Some(snapshot) => {
            progress
                .phase("copy the volumes", beginning::of_snapshot(&spec, &secrets, snapshot, lock.dir()))
                .await
        }
    };
    let Beginning { plan, nodes, origin } = match beginning {
        Ok(beginning) => beginning,
        Err(error) => return Err((error, Some(lock))),
    };
    let cluster_spec = ClusterSpec {
        stack: spec.name.to_string(),
        dir: lock.dir().to_owned(),
        cache: paths.cache.clone(),
        nodes,
        images: spec.images.clone(),
        options: spec.options.clone(),
        clouds: spec.clouds.clone(),
        timeline: timeline.clone(),
        origin,
    };
    if !spec.clouds.is_empty() {
        let path = lock.dir().join(clouds::AUTHORITY);
        let written = write_private_file(&path, secrets.clouds.certificates.authority.as_bytes());
        if let Err(source) = written {
            return Err((StartError::Io { what: format!("write {}", path.display()), source }, Some(lock)));
        }
    }
    timeline.record(Source::Stack, "harness", "up");
    let cluster = progress.phase("start the cluster", async {
        backend::start(spec.backend, cluster_spec).await.map_err(StartError::from)
    });
    let cluster = match cluster.await {
        Ok(cluster) => cluster,
        Err(error) => return Err((error, Some(lock))),
    };
    if let Some(attached) = cluster.attached() {
        spec.nodes = attached.nodes();
    }
    match execute(&plan, &cluster, &lock, &secrets, progress).await {
        Ok((client, addresses, forwarder)) => {
            let running = RunningStack {
                spec,
                dir: lock.dir().to_owned(),
                addresses,
                secrets,
                client,
                timeline,
                redactor,
                took: begun.elapsed(),
                cluster,
                forwarder,
                lock,
            };
            match running.write_record() {
                Ok(()) => Ok(running),
                Err(source) => {
                    let _ = running.stop().await;
                    Err((StartError::Io { what: "write stack.json".into(), source }, None))
                }
            }
        }
        Err(error) => {
            match cluster.stop().await {
                Ok(()) => Err((error, Some(lock))),
                // What the directory says of the cluster is all that leads there.
                Err(left) => {
                    let (source, name) = (Box::new(error), spec.name);
                    Err((StartError::LeftBehind { source, left, name }, None))
                }
            }
        }
    }
}

impl RunningStack {
    fn write_record(&self) -> io::Result<()> {
        self.lock.write(&StackRecord {
            name: self.spec.name.to_string(),
            backend: self.spec.backend.to_string(),
            driver: std::process::id(),
            nodes: self.spec.nodes,
            images: Component::ALL
                .into_iter()
                .filter(|component| !self.spec.images.is_stand_in(*component))
                .map(|component| format!("{component}={}", self.spec.images.source(component)))
                .collect(),
            started: Timestamp::now(),
            ready_after_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            addresses: self.addresses.clone(),
        })
    }
}

async fn execute(
    plan: &Plan,
    cluster: &Cluster,
    lock: &StackLock,
    secrets: &Secrets,
    progress: &Progress,
) -> Result<(Client, Addresses, Option<Forwarder>), StartError> {
    let kubeconfig = cluster.kubeconfig();
    let remote = plan.spec.images.remote_control_plane();
    let mut files = vec![
        ("kubeconfig", kubeconfig.as_str()),
        ("owner-token", secrets.owner_token.expose_secret()),
        ("vault-token", secrets.vault_token.expose_secret()),
    ];
    if remote.is_none() {
        files.push(("operator-token", secrets.operator_token.expose_secret()));
    }
    for (name, content) in files {
        let path: PathBuf = lock.dir().join(name);
        write_private_file(&path, content.as_bytes())
            .map_err(|source| StartError::Io { what: format!("write {}", path.display()), source })?;
    }
    let client = client(&kubeconfig).await?;
    let within = if plan.spec.backend.has_containers() { READY_IN_CONTAINERS_WITHIN } else { READY_WITHIN };
    if let Some(attached) = cluster.attached() {
        let objects: Vec<Value> = plan.objects().cloned().collect();
        let claim = attached.claim(plan.spec.name.as_str(), &objects);
        progress.phase("claim the cluster", claim).await?;
    }
    for step in &plan.steps {
        match step {
            Step::StartCluster { .. }
            | Step::Attach { .. }
            | Step::LoadImages { .. }
            | Step::Publish { .. } => {}
            Step::Apply { what, objects } => {
                let objects = match cluster.attached() {
                    Some(attached) => attached.to_apply(objects),
                    None => objects.clone(),
                };
                progress.phase(&format!("apply {what}"), apply(&client, &objects)).await?;
            }
            Step::WaitReady { objects } => {
                progress.phase(&waiting_for(objects), ready(&client, objects, within)).await?;
            }
        }
    }
    let (control_plane, postgres) = match remote {
        Some(url) => (url.to_owned(), None),
        None => (
            format!("http://{}", reach(cluster, &client, "default", "plexsphere").await?),
            Some(reach(cluster, &client, "default", "postgres").await?),
        ),
    };
    let mut addresses = Addresses {
        kubernetes: cluster.url(),
        control_plane,
        vault: format!("http://{}", reach(cluster, &client, "vault", "vault").await?),
        postgres,
        clouds: BTreeMap::new(),
        internet: None,
        detours: BTreeMap::new(),
        git_server: None,
    };
    if cluster.attached().is_some() && remote.is_none() {
        // The identity provider's pages have one address for people and for the control plane: that of its Service.
        let (inside, outside) =
            (service(&client, "default", "dex").await?, reach(cluster, &client, "default", "dex").await?);
        addresses.detours.insert(inside, outside);
    }
    if plan.spec.operator == Operator::ByFlux {
        let address = reach(cluster, &client, clouds::NAMESPACE, flux::SERVER).await?;
        addresses.git_server = Some(format!("http://{address}"));
    }
    for cloud in &plan.spec.clouds {
        let address = service(&client, clouds::NAMESPACE, cloud.name()).await?;
        addresses.clouds.insert(*cloud, format!("http://{address}"));
        addresses.internet =
            Some(format!("http://{}", service(&client, clouds::NAMESPACE, "internet").await?));
    }
    let mut urls = vec![addresses.vault.clone()];
    urls.extend(addresses.git_server.iter().chain(addresses.clouds.values()).cloned());
    if remote.is_none() {
        urls.push(addresses.control_plane.clone());
        let pages = match addresses.detours.values().next() {
            Some(detour) => detour.clone(),
            None => service(&client, "default", "dex").await?,
        };
        urls.push(format!("http://{pages}"));
    }
    let dsn = addresses.dsn();
    let answers =
        async { answering::wait(&urls, dsn.as_deref(), within).await.map_err(StartError::NotAnswering) };
    progress.phase("see the addresses answer", answers).await?;
    clouds::access::write(lock.dir(), &addresses, &secrets.clouds)
        .map_err(|source| StartError::Io { what: "write the clouds' variables".to_owned(), source })?;
    let forwarder = match plan.spec.publish {
        Publish::Prefer(_) | Publish::Nowhere if remote.is_some() => None,
        Publish::Nowhere => None,
        Publish::Prefer(port) => Some(publish(port, &mut addresses, progress).await?),
    };
    Ok((client, addresses, forwarder))
}

fn waiting_for(objects: &[ObjectRef]) -> String {
    let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
    match names.as_slice() {
        [first, .., last] if names.len() > 4 => format!("wait for {first} … {last}"),
        names => format!("wait for {}", names.join(", ")),
    }
}

async fn client(kubeconfig: &str) -> Result<Client, StartError> {
    plexlab_lab::tls::install_provider();
    let fail = |error: &dyn std::fmt::Display| StartError::Client(error.to_string());
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|error| fail(&error))?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| fail(&error))?;
    Client::try_from(config).map_err(|error| fail(&error))
}

/// Applies objects server-side as field manager `plexlab`. Namespaces and definitions come first, one after
/// another; the rest goes side by side.
///
/// # Errors
/// [`StartError::Apply`] for the first object that is not accepted.
pub async fn apply(client: &Client, objects: &[Value]) -> Result<(), StartError> {
    let (first, rest): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object["kind"] == "Namespace");
    for object in first {
        apply_one(client, object).await?;
    }
    let mut outcomes =
        futures::stream::iter(rest.into_iter().map(|object| apply_one(client, object))).buffered(APPLY_WIDTH);
    while let Some(outcome) = outcomes.next().await {
        outcome?;
    }
    Ok(())
}

async fn apply_one(client: &Client, object: &Value) -> Result<(), StartError> {
    let reference = ObjectRef::of(object);
    let api: Api<DynamicObject> = dynamic_api(client, &reference);
    let parameters = PatchParams::apply("plexlab").force();
    let patch = Patch::Apply(object);
    match tokio::time::timeout(APPLIED_WITHIN, api.patch(&reference.name, &parameters, &patch)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(StartError::Apply { object: Box::new(reference), source: Box::new(source) }),
        Err(_) => Err(StartError::ApplyTimedOut { object: Box::new(reference), within: APPLIED_WITHIN }),
    }
}

async fn ready(client: &Client, objects: &[ObjectRef], within: Duration) -> Result<(), StartError> {
    let waits = objects.iter().map(|object| wait_ready(client, object, within));
    match futures::future::try_join_all(waits).await {
        Ok(_) => Ok(()),
        Err(source) => {
            let logs = match &source.object.namespace {
                Some(namespace) => {
                    crate::stack::logs::last_lines(client, namespace, &source.object.name).await
                }
                None => String::new(),
            };
            Err(StartError::NotReady { source, logs })
        }
    }
}

/// Where this machine reaches a Service's first port, `address:port`.
async fn reach(
    cluster: &Cluster,
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<String, StartError> {
    match cluster.attached() {
        None => service(client, namespace, name).await,
        Some(attached) => {
            let fail = |error: ForwardError| StartError::NoAddress {
                name: format!("{namespace}/{name}"),
                why: error.to_string(),
            };
            attached.forward(namespace, name).await.map_err(fail)
        }
    }
}

/// `address:port` of a Service's first port, in the cluster.
async fn service(client: &Client, namespace: &str, name: &str) -> Result<String, StartError> {
    let fail = |why: String| StartError::NoAddress { name: format!("{namespace}/{name}"), why };
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let spec = api.get(name).await.map_err(|error| fail(error.to_string()))?.spec.unwrap_or_default();
    let address = spec.cluster_ip.filter(|address| address != "None");
    let port = spec.ports.unwrap_or_default().first().map(|port| port.port);
    match (address, port) {
        (Some(address), Some(port)) => Ok(format!("{address}:{port}")),
        _ => Err(fail("it has no cluster IP or no port".into())),
    }
}

/// Publishes the control plane on localhost, at the preferred port or at another.
async fn publish(port: u16, addresses: &mut Addresses, progress: &Progress) -> Result<Forwarder, StartError> {
    let target = addresses.control_plane.trim_start_matches("http://").to_owned();
    let forwarder = match Forwarder::start(port, target.clone()).await {
        Ok(forwarder) => forwarder,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let owner =
                port_owner(port).map_or_else(|| "another process".to_owned(), |owner| owner.to_string());
            progress.note(format!("port {port} is taken by {owner}; the control plane gets another port"));
            Forwarder::start(0, target)
                .await
                .map_err(|source| StartError::Io { what: "open a port".into(), source })?
        }
        Err(source) => {
            return Err(StartError::Io { what: format!("open port {port} on localhost"), source });
        }
    };
    addresses.control_plane = format!("http://localhost:{}", forwarder.port);
    Ok(forwarder)
}

/// Forwards TCP connections from a port of localhost (IPv4, and IPv6 where there is one) to an address.
#[derive(Debug)]
pub struct Forwarder {
    /// The port of localhost.
    pub port: u16,
    tasks: JoinSet<()>,
}

impl Forwarder {
    /// Starts to forward; port 0 lets the system choose.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub async fn start(port: u16, target: String) -> io::Result<Self> {
        let four = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let port = four.local_addr()?.port();
        let mut tasks = JoinSet::new();
        match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
            Ok(six) => {
                tasks.spawn(forward(six, target.clone()));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => tracing::debug!(%error, "no IPv6 on loopback"),
        }
        tasks.spawn(forward(four, target));
        Ok(Self { port, tasks })
    }

    /// Closes the port and all connections through it.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn forward(listener: TcpListener, target: String) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((mut inbound, _)) => {
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut outbound) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::task::yield_now().await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}
