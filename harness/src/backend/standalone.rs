//! A cluster on its own, without a stack: what `cargo xtask kube serve` holds in the foreground.
//!
//! ```text
//! <state>/kube/                one lock for coming and going
//! └── <random>/                one cluster; all of it goes with the cluster
//!     ├── lock                 held as long as the cluster lives
//!     ├── kubeconfig           admin access (0600), unless another place is named
//!     └── kubelet/             nodes' directories, pods' volumes and logs
//! ```
//!
//! A killed one leaves its directory; the next start removes it. On the kind backend the directory also says which cluster
//! of kind is its own: then it stays until `gc` has deleted that ([`remove_dead`]).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client};
use plexlab_apiserver::audit::Policy;
use plexlab_apiserver::token_file::{self, TokenFileError};
use plexlab_apiserver::{AuditConfig, ServeError, StaticUser};
use plexlab_kubelet::{ApiAccess, Image, ImageStore, NodeConfig};
use plexlab_lab::{Check, eventually};
use secrecy::SecretString;

use super::addresses::{AddressBlock, AllTaken};
use super::containers::{further_images, own_program, postgres_image, stand_in};
use super::envtest::assets::Assets;
use super::envtest::cluster::{self, EnvtestError};
use super::envtest::real_kube::RealKube;
use super::kind::cluster::{self as kind_cluster, KindCluster, KindError};
use super::loops::{CONTROLLERS, KUBELET, Loops, controllers_of, in_process, loop_users};
use super::options::BackendOptions;
use super::{BackendKind, ClusterSpec};
use crate::clouds::Clouds;
use crate::images::{Component, Images};
use crate::paths::{Paths, write_private_file};
use crate::place::{self, Place, PlaceError};
use crate::redact::Redactor;
use crate::timeline::Timeline;

/// How long nodes and the first service account may take.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The first line of every kubeconfig that is written to a place of the user's choice: only such a file is ever
/// written over or removed.
const SIGNATURE: &str = "# written by plexlab's `kube serve`, which removes it when it ends\n";
/// The image that runs the machine's own programs, so that a pod can be tried without any image.
pub const HOST_IMAGE: &str = "busybox";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ServeSpec {
    /// Number of nodes; pods run on them.
    pub nodes: u32,
    /// Whether the controllers run.
    pub controllers: bool,
    /// A file of users with fixed tokens, beside the admin of the kubeconfig.
    pub tokens: Option<PathBuf>,
    /// The audit policy, and the file that the log goes to; it stays when the cluster ends.
    pub audit: Option<(PathBuf, PathBuf)>,
    /// Port of the API; 0 lets the system choose.
    pub port: u16,
    /// Where the kubeconfig goes; none means the cluster's own directory.
    pub kubeconfig: Option<PathBuf>,
    /// Programs by the name of the image that stands for them.
    pub programs: Vec<(String, PathBuf)>,
    /// Whether there is an image of Postgres, too, which is prepared first.
    pub postgres: bool,
    /// What serves the API. A real kube-apiserver takes no tokens, audit policy and port from here; a cluster of kind takes
    /// nothing but its nodes.
    pub backend: BackendKind,
    /// What else is chosen for the kind backend.
    pub options: BackendOptions,
}

/// The cluster did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// No directory of its own.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file cannot be used.
    #[error("use {path}: {source}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file that is to become the kubeconfig is somebody else's.
    #[error("{0} exists and was not written by `kube serve`: it is left alone")]
    NotOurs(PathBuf),
    /// The file of users cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The audit policy cannot be used.
    #[error("use {path}: {why}")]
    AuditPolicy {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A backend whose clusters are not this process's.
    #[error("the {0} backend serves no cluster of its own here: use embedded, envtest or kind")]
    Backend(BackendKind),
    /// The cluster of kind.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// No Postgres server program could be found or downloaded, or it does not work.
    #[error("{0}")]
    Postgres(String),
    /// No addresses are left.
    #[error(transparent)]
    Addresses(#[from] AllTaken),
    /// The API server did not start.
    #[error("start the API server on port {port}: {source}")]
    ApiServer {
        /// The port asked for.
        port: u16,
        /// Why not.
        source: Box<ServeError>,
    },
    /// A part beside the API server did not start.
    #[error("start the {part}: {why}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why not.
        why: String,
    },
    /// The real programs, or what is beside them, did not start.
    #[error(transparent)]
    Envtest(#[from] EnvtestError),
    /// It did not become ready.
    #[error(transparent)]
    Late(#[from] plexlab_lab::TimedOut),
}

fn part(part: &'static str) -> impl Fn(&dyn std::fmt::Display) -> StandaloneError {
    move |why| StandaloneError::Part { part, why: why.to_string() }
}

/// A cluster that runs.
pub struct Standalone {
    server: Server,
    loops: Loops,
    kubeconfig: KubeconfigFile,
    place: Place,
    /// From the call to ready.
    pub took: Duration,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// Of what runs on this machine; containers have their own.
    _addresses: Option<AddressBlock>,
}

/// What serves the API.
enum Server {
    Own(plexlab_apiserver::Handle),
    Real(Box<RealKube>),
    Containers(Box<KindCluster>),
}

/// It could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    /// The cluster of kind, which is still there.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// Its directory.
    #[error("remove {path}: {source}")]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn removed(path: &Path, outcome: io::Result<()>) -> Result<(), DeadError> {
    match outcome {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DeadError::Remove { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes what a dead cluster has left: its cluster of kind, if it says that it has one, and its directory.
///
/// # Errors
/// [`DeadError`]; then the directory is still there.
pub async fn remove_dead(dir: &Path) -> Result<(), DeadError> {
    kind_cluster::clean_up_after(dir).await?;
    removed(dir, std::fs::remove_dir_all(dir))
}

/// Removes what all dead clusters have left, as after a start that was given up.
///
/// # Errors
/// [`DeadError`] of the first that would not go.
pub async fn remove_all_dead(paths: &Paths) -> Result<(), DeadError> {
    for dir in place::unheld(&paths.state.join("kube")) {
        remove_dead(&dir).await?;
    }
    Ok(())
}

impl std::fmt::Debug for Standalone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standalone").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Standalone {
    /// Base URL of the API.
    pub fn url(&self) -> String {
        match &self.server {
            Server::Own(server) => server.url(),
            Server::Real(server) => server.url(),
            Server::Containers(cluster) => cluster.attached.url(),
        }
    }

    /// Path of the admin's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig.0
    }

    /// Restarts the API server: its connections break, and nobody is answered for a moment; its objects stay.
    ///
    /// # Errors
    /// When it is not this process's, or does not come back.
    pub async fn restart_api_server(&self) -> Result<(), StandaloneError> {
        let Server::Own(server) = &self.server else {
            return Err(part("API server again")(&"it is not this process's to restart"));
        };
        server.restart().await.map_err(|source| StandaloneError::ApiServer {
            port: server.address().port(),
            source: Box::new(source),
        })
    }

    /// Stops everything and removes every file.
    ///
    /// # Errors
    /// When a file or the cluster of kind cannot be removed.
    pub async fn stop(self) -> Result<(), DeadError> {
        self.loops.stop().await;
        match self.server {
            Server::Own(server) => server.stop().await,
            // Waits for the processes' end, which a thread of the runtime must not.
            Server::Real(server) => {
                let _ = tokio::task::spawn_blocking(move || drop(server)).await;
            }
            Server::Containers(cluster) => cluster.stop().await?,
        }
        drop(self.kubeconfig);
        let dir = self.place.dir.clone();
        removed(&dir, self.place.remove())
    }
}

/// Starts a cluster and returns when it can be used: nodes are ready, and namespace `default` has its service account.
///
/// # Errors
/// [`StandaloneError`].
pub async fn start(spec: ServeSpec, paths: &Paths) -> Result<Standalone, StandaloneError> {
    match spec.backend {
        BackendKind::Embedded => own(spec, paths).await,
        BackendKind::Envtest => real(spec, paths).await,
        BackendKind::Kind => in_containers(spec, paths).await,
        BackendKind::Kubeconfig => Err(StandaloneError::Backend(spec.backend)),
    }
}

/// A cluster of kind, of no stack.
async fn in_containers(spec: ServeSpec, paths: &Paths) -> Result<Standalone, StandaloneError> {
    let begun = Instant::now();
    let place = Place::take(&paths.state.join("kube"))?;
    let nodes = names(spec.nodes);
    // Names of clusters go by name among all of this machine's, and have no capitals.
    let name = format!("kube-{:08x}", rand::random::<u32>());
    let cluster = kind_cluster::start(&ClusterSpec {
        stack: name,
        dir: place.dir.clone(),
        cache: paths.cache.clone(),
        nodes: nodes.clone(),
        images: Images::default(),
        options: spec.options,
        clouds: Clouds::default(),
        timeline: Timeline::new(Redactor::default()),
        origin: None,
    })
    .await?;
    let kubeconfig = KubeconfigFile::write(place.dir.join("kubeconfig"), &cluster.attached.kubeconfig())?;
    let server = Server::Containers(Box::new(cluster));
    let loops = Loops { controllers: None, kubelet: None };
    let took = begun.elapsed();
    Ok(Standalone { server, loops, kubeconfig, place, took, nodes, _addresses: None })
}

/// With a real kube-apiserver.
async fn real(spec: ServeSpec, paths: &Paths) -> Result<Standalone, StandaloneError> {
    let begun = Instant::now();
    let assets = Assets::from_environment().map_err(EnvtestError::from)?;
    let place = Place::take(&paths.state.join("kube"))?;
    let addresses = AddressBlock::take()?;
    let server = cluster::real(assets, &place.dir, &addresses).await?;
    let nodes = names(spec.nodes);
    let postgres = postgres(&spec, paths).await?;
    let images = images(&spec.programs, postgres);
    let loops = cluster::loops(&server, &nodes, &place.dir, &addresses, images, None).await?;
    let admin = server.client("admin").await.map_err(EnvtestError::from)?;
    ready(&admin, &nodes, true).await?;
    let kubeconfig = server.kubeconfig("admin").unwrap_or_default();
    let kubeconfig = KubeconfigFile::write(place.dir.join("kubeconfig"), &kubeconfig)?;
    let server = Server::Real(Box::new(server));
    let took = begun.elapsed();
    Ok(Standalone { server, loops, kubeconfig, place, took, nodes, _addresses: Some(addresses) })
}

/// The image of Postgres, if it is asked for.
async fn postgres(spec: &ServeSpec, paths: &Paths) -> Result<Option<Image>, StandaloneError> {
    if !spec.postgres {
        return Ok(None);
    }
    postgres_image(paths.cache.clone()).await.map(Some).map_err(StandaloneError::Postgres)
}

fn names(nodes: u32) -> Vec<String> {
    (0..nodes).map(|index| format!("node-{index}")).collect()
}

/// With plexlab's own API server.
async fn own(spec: ServeSpec, paths: &Paths) -> Result<Standalone, StandaloneError> {
    let begun = Instant::now();
    let given = spec.tokens.as_deref().map(token_file::read).transpose()?.unwrap_or_default();
    let postgres = postgres(&spec, paths).await?;
    let audit = spec.audit.map(|(policy, log)| audit(policy, log)).transpose()?;
    let place = Place::take(&paths.state.join("kube"))?;
    let addresses = AddressBlock::take()?;
    let kubelet_token = SecretString::from(uuid::Uuid::new_v4().to_string());
    // A user of the file may be called `admin` as well: the key only serves to find the kubeconfig.
    let given = given.into_iter().map(|user| StaticUser { key: format!("file:{}", user.name), ..user });
    let services = addresses.services();
    let config = plexlab_apiserver::Config {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, spec.port)),
        service_cidr: services.parse().map_err(|error| part("API server")(&error))?,
        users: loop_users().into_iter().chain(given).collect(),
        kubelet_token: Some(kubelet_token.clone()),
        // Without controllers no namespace ever gets the service account that the admission asks for.
        service_account_admission: spec.controllers,
        audit,
        ..plexlab_apiserver::Config::default()
    };
    let served = plexlab_apiserver::serve(config).await;
    let api_server =
        served.map_err(|source| StandaloneError::ApiServer { port: spec.port, source: Box::new(source) })?;
    let text = |user: &str| api_server.kubeconfig(user).map_err(|error| part("API server")(&error));
    let admin = text("admin")?;
    let connect = |user: &str| in_process(&api_server, user).map_err(|error| part("client")(&error));
    let controllers = if spec.controllers {
        let mut config = controllers_of(api_server.ca_pem());
        // Nodes without a kubelet are not silent, they are made by a test.
        config.node_monitor_grace = config.node_monitor_grace.filter(|_| spec.nodes > 0);
        Some(plexlab_controllers::start(connect(CONTROLLERS)?, config).await)
    } else {
        None
    };
    let nodes = names(spec.nodes);
    let kubelet = if nodes.is_empty() {
        None
    } else {
        let at = api_server.address();
        let mut config = plexlab_kubelet::Config::new(
            connect(KUBELET)?,
            NodeConfig::cluster(&nodes),
            place.dir.join("kubelet"),
            addresses.pods().parse().map_err(|error| part("kubelet")(&error))?,
            images(&spec.programs, postgres),
            ApiAccess { host: at.ip().to_string(), port: at.port() },
            kubelet_token,
        );
        config.reexec = own_program();
        Some(plexlab_kubelet::serve(config).await.map_err(|error| part("kubelet")(&error))?)
    };
    ready(&connect("admin")?, &nodes, spec.controllers).await?;
    let kubeconfig = match spec.kubeconfig {
        Some(path) => KubeconfigFile::write_signed(path, &admin)?,
        None => KubeconfigFile::write(place.dir.join("kubeconfig"), &admin)?,
    };
    let took = begun.elapsed();
    let cluster = Standalone {
        server: Server::Own(api_server),
        loops: Loops { controllers, kubelet },
        kubeconfig,
        place,
        took,
        nodes,
        _addresses: Some(addresses),
    };
    Ok(cluster)
}

fn audit(path: PathBuf, log: PathBuf) -> Result<AuditConfig, StandaloneError> {
    let text = std::fs::read_to_string(&path).map_err(|error| format!("read the audit policy: {error}"));
    match text.and_then(|text| Policy::parse(&text).map_err(|error| error.to_string())) {
        Ok(policy) => Ok(AuditConfig { policy, log }),
        Err(why) => Err(StandaloneError::AuditPolicy { path, why }),
    }
}

fn images(programs: &[(String, PathBuf)], postgres: Option<Image>) -> ImageStore {
    let host = further_images().with(HOST_IMAGE, Image::host());
    let host =
        postgres.into_iter().fold(host, |store, postgres| store.with(Component::Postgres.image(), postgres));
    // Postgres needs preparing, which a cluster does only when it is asked to.
    let of_the_stack = Component::ALL.into_iter().filter(|component| *component != Component::Postgres);
    let known =
        of_the_stack.fold(host, |store, component| store.with(component.image(), stand_in(component.name())));
    programs.iter().fold(known, |store, (name, path)| store.with(name, Image::executable(path)))
}

async fn ready(client: &Client, nodes: &[String], controllers: bool) -> Result<(), StandaloneError> {
    let (accounts, api) =
        (Api::<ServiceAccount>::namespaced(client.clone(), "default"), Api::<Node>::all(client.clone()));
    eventually("the nodes and the first service account", READY_WITHIN, || async {
        for name in nodes {
            let node = match api.get_opt(name).await {
                Ok(node) => node,
                Err(error) => return Check::NotYet(error.to_string()),
            };
            let status = node.and_then(|node| node.status).unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            if !conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
                return Check::NotYet(format!("node {name} is not ready"));
            }
        }
        match accounts.get_opt("default").await {
            _ if !controllers => Check::Done(()),
            Ok(Some(_)) => Check::Done(()),
            Ok(None) => Check::NotYet("no service account `default` in namespace `default`".into()),
            Err(error) => Check::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// A kubeconfig on disk; goes when dropped.
#[derive(Debug)]
struct KubeconfigFile(PathBuf);

impl KubeconfigFile {
    fn write(path: PathBuf, text: &str) -> Result<Self, StandaloneError> {
        match write_private_file(&path, text.as_bytes()) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(StandaloneError::Unusable { path, source }),
        }
    }

    /// At a place of the user's choice: a file that is there is written over only if `kube serve` wrote it.
    fn write_signed(path: PathBuf, text: &str) -> Result<Self, StandaloneError> {
        match std::fs::read(&path) {
            Ok(found) if found.starts_with(SIGNATURE.as_bytes()) => {}
            Ok(_) => return Err(StandaloneError::NotOurs(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StandaloneError::Unusable { path, source }),
        }
        Self::write(path, &format!("{SIGNATURE}{text}"))
    }
}

impl Drop for KubeconfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_ours_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("config");
        std::fs::write(&path, "the user's own\n").unwrap();
        let error = KubeconfigFile::write_signed(path.clone(), "apiVersion: v1\n").unwrap_err();
        assert!(matches!(error, StandaloneError::NotOurs(_)), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the user's own\n");
    }

    #[test]
    fn a_file_of_a_killed_one_is_written_over_and_goes_with_its_cluster() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("config");
        std::fs::write(&path, format!("{SIGNATURE}old")).unwrap();
        let file = KubeconfigFile::write_signed(path.clone(), "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{SIGNATURE}new"));
        drop(file);
        assert!(!path.exists());
    }
}
