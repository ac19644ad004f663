//! Cluster backends: what serves the Kubernetes API and what runs an image.
//!
//! A backend says whether it can run here ([`BackendKind::available`]), starts a cluster ([`start`]), and
//! the cluster then answers for its addresses, collects evidence and stops. Dispatch is by enum.

pub mod addresses;
pub mod attach;
pub mod bare;
pub mod containers;
pub mod embedded;
pub mod envtest;
pub mod kind;
pub mod lone;
mod loops;
pub mod options;
pub mod standalone;
pub mod supervised;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

use crate::backend::options::BackendOptions;
use crate::clouds::Clouds;
use crate::images::Images;
use crate::timeline::Timeline;

/// The backends that the design knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// API server, controllers and kubelet in this process; no Docker.
    Embedded,
    /// A real kube-apiserver and etcd, with plexlab's controllers and kubelet.
    Envtest,
    /// A cluster of its own in containers, made by the `kind` program.
    Kind,
    /// A cluster that is there already, by its kubeconfig.
    Kubeconfig,
}

impl BackendKind {
    /// All, in the order in which they are listed.
    pub const ALL: [BackendKind; 4] =
        [BackendKind::Embedded, BackendKind::Envtest, BackendKind::Kind, BackendKind::Kubeconfig];

    /// Whether images run in containers of a real container engine, on nodes that are not this process's.
    pub fn has_containers(self) -> bool {
        match self {
            BackendKind::Embedded | BackendKind::Envtest => false,
            BackendKind::Kind | BackendKind::Kubeconfig => true,
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendKind::Embedded => "embedded",
            BackendKind::Envtest => "envtest",
            BackendKind::Kind => "kind",
            BackendKind::Kubeconfig => "kubeconfig",
        })
    }
}

/// A backend that this build does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backend `{0}` is not served; this version serves: embedded, envtest, kind, kubeconfig")]
pub struct UnknownBackend(String);

impl FromStr for BackendKind {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        let known = BackendKind::ALL.into_iter().find(|kind| kind.to_string() == text);
        known.ok_or_else(|| UnknownBackend(text.to_owned()))
    }
}

/// Why a backend cannot run here, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {backend} backend cannot run here: {why}; {hint}")]
pub struct Unavailable {
    /// Which backend.
    pub backend: BackendKind,
    /// What is missing.
    pub why: String,
    /// What to do.
    pub hint: String,
}

impl BackendKind {
    /// Whether this backend can run on this machine.
    ///
    /// # Errors
    /// [`Unavailable`] with the reason and a hint.
    pub fn available(self) -> Result<(), Unavailable> {
        match self {
            BackendKind::Embedded => containers::available(),
            BackendKind::Envtest => envtest::cluster::available(),
            BackendKind::Kind => kind::cluster::available(),
            // Whether the cluster can be used is known when it is asked.
            BackendKind::Kubeconfig => Ok(()),
        }
    }
}

/// What a cluster is asked to be.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// The stack's name.
    pub stack: String,
    /// The stack's directory; everything on disk goes below it.
    pub dir: PathBuf,
    /// Where Postgres binaries and templates are kept between stacks.
    pub cache: PathBuf,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// What runs for each component.
    pub images: Images,
    /// What else was chosen for the backend.
    pub options: BackendOptions,
    /// Clouds that the External Secrets Operator is to reach.
    pub clouds: Clouds,
    /// Where processes that start and end are recorded.
    pub timeline: Timeline,
    /// The objects to begin with, instead of those of an empty cluster; volumes are in `dir` already.
    pub origin: Option<Origin>,
}

/// What a cluster is born of.
#[derive(Debug, Clone)]
pub struct Origin {
    /// All objects.
    pub objects: plexlab_apiserver::Snapshot,
    /// Second octet of the addresses that they speak of.
    pub block: u8,
}

/// Starting a cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The backend cannot begin with objects of another cluster.
    #[error("the {0} backend cannot restore a snapshot: use the embedded one")]
    Origin(BackendKind),
    /// The embedded backend's.
    #[error(transparent)]
    Embedded(#[from] embedded::StartError),
    /// The envtest backend's.
    #[error(transparent)]
    Envtest(#[from] envtest::cluster::EnvtestError),
    /// The kind backend's.
    #[error(transparent)]
    Kind(#[from] kind::cluster::KindError),
    /// The kubeconfig backend's.
    #[error(transparent)]
    Attach(#[from] attach::cluster::AttachError),
}

/// A cluster that runs.
#[derive(Debug)]
pub enum Cluster {
    /// Of the embedded backend.
    Embedded(Box<embedded::EmbeddedCluster>),
    /// Of the envtest backend.
    Envtest(Box<envtest::cluster::EnvtestCluster>),
    /// Of the kind backend.
    Kind(Box<kind::cluster::KindCluster>),
    /// Of the kubeconfig backend.
    Attached(Box<attach::cluster::AttachedCluster>),
}

/// Starts a cluster.
///
/// # Errors
/// [`ClusterError`]; nothing is left running.
pub async fn start(kind: BackendKind, spec: ClusterSpec) -> Result<Cluster, ClusterError> {
    match kind {
        BackendKind::Envtest | BackendKind::Kind | BackendKind::Kubeconfig if spec.origin.is_some() => {
            Err(ClusterError::Origin(kind))
        }
        BackendKind::Embedded => Ok(Cluster::Embedded(Box::new(embedded::start(spec).await?))),
        BackendKind::Envtest => Ok(Cluster::Envtest(Box::new(envtest::cluster::start(spec).await?))),
        BackendKind::Kind => Ok(Cluster::Kind(Box::new(kind::cluster::start(&spec).await?))),
        BackendKind::Kubeconfig => Ok(Cluster::Attached(Box::new(attach::cluster::start(&spec).await?))),
    }
}

/// Something is left of a cluster, or in one that goes on.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// In a cluster that goes on.
    #[error(transparent)]
    Ownership(#[from] attach::ownership::OwnershipError),
    /// A cluster of kind.
    #[error(transparent)]
    Kind(#[from] kind::cluster::KindError),
}

impl Cluster {
    /// The cluster as one that a stack is attached to, if it is that.
    pub fn attached(&self) -> Option<&attach::cluster::AttachedCluster> {
        match self {
            Cluster::Embedded(_) | Cluster::Envtest(_) => None,
            Cluster::Kind(cluster) => Some(&cluster.attached),
            Cluster::Attached(cluster) => Some(cluster),
        }
    }

    /// The admin kubeconfig, as YAML.
    pub fn kubeconfig(&self) -> String {
        match self {
            Cluster::Embedded(cluster) => cluster.kubeconfig(),
            Cluster::Envtest(cluster) => cluster.kubeconfig(),
            Cluster::Kind(cluster) => cluster.attached.kubeconfig(),
            Cluster::Attached(cluster) => cluster.kubeconfig(),
        }
    }

    /// Base URL of the Kubernetes API.
    pub fn url(&self) -> String {
        match self {
            Cluster::Embedded(cluster) => cluster.url(),
            Cluster::Envtest(cluster) => cluster.url(),
            Cluster::Kind(cluster) => cluster.attached.url(),
            Cluster::Attached(cluster) => cluster.url(),
        }
    }

    /// How a program that the cluster cannot be without ended by itself, if one has: after that nothing else in it
    /// says more than that nobody answers. Only envtest's are this tool's own processes.
    pub fn ended(&self) -> Option<String> {
        match self {
            Cluster::Envtest(cluster) => cluster.ended(),
            Cluster::Embedded(_) | Cluster::Kind(_) | Cluster::Attached(_) => None,
        }
    }

    /// Collects what only the backend can tell of its nodes below the stack's directory, where evidence is looked for.
    ///
    /// # Errors
    /// What the backend's own program said.
    pub async fn collect(&self) -> Result<(), kind::cluster::KindError> {
        match self {
            // Their nodes are in this process: what there is to tell is in the directory already.
            Cluster::Embedded(_) | Cluster::Envtest(_) => Ok(()),
            Cluster::Kind(cluster) => cluster.collect().await,
            // Somebody else's nodes.
            Cluster::Attached(_) => Ok(()),
        }
    }

    /// Stops everything; returns when no process of the cluster is left, or nothing of the stack in the cluster.
    ///
    /// # Errors
    /// When something of the stack is left in a cluster that goes on.
    pub async fn stop(self) -> Result<(), StopError> {
        match self {
            Cluster::Embedded(cluster) => cluster.stop().await,
            Cluster::Envtest(cluster) => cluster.stop().await,
            Cluster::Kind(cluster) => cluster.stop().await?,
            Cluster::Attached(cluster) => cluster.stop().await?,
        }
        Ok(())
    }
}
