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
//! A killed one leaves its directory; the next start removes it.

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

use super::BackendKind;
use super::addresses::{AddressBlock, AllTaken};
use super::containers::{further_images, own_program, postgres_image, stand_in};
use super::envtest::assets::Assets;
use super::envtest::cluster::{self, EnvtestError};
use super::envtest::real_kube::RealKube;
use super::loops::{CONTROLLERS, KUBELET, Loops, controllers_of, in_process, loop_users};
use crate::images::Component;
use crate::paths::{Paths, write_private_file};
use crate::place::{Place, PlaceError};

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
    /// What serves the API. A real kube-apiserver takes no tokens, audit policy and port from here.
    pub backend: BackendKind,
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
    #[error("the {0} backend serves no cluster of its own here: use the embedded one or envtest")]
    Backend(BackendKind),
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
    _addresses: AddressBlock,
}

/// What serves the API.
enum Server {
    Own(plexlab_apiserver::Handle),
    Real(Box<RealKube>),
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
        }
    }

    /// Path of the admin's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig.0
    }

    /// Stops everything and removes every file.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn stop(self) -> io::Result<()> {
        self.loops.stop().await;
        match self.server {
            Server::Own(server) => server.stop().await,
            // Waits for the processes' end, which a thread of the runtime must not.
            Server::Real(server) => {
                let _ = tokio::task::spawn_blocking(move || drop(server)).await;
            }
        }
        drop(self.kubeconfig);
        self.place.remove()
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
        BackendKind::Kind | BackendKind::Kubeconfig => Err(StandaloneError::Backend(spec.backend)),
    }
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
    Ok(Standalone { server, loops, kubeconfig, place, took, nodes, _addresses: addresses })
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
        _addresses: addresses,
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
