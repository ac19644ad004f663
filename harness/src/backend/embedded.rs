//! The embedded backend: API server, controllers and kubelet in this process; containers are processes.
//!
//! The three meet only at the Kubernetes API, over TLS on loopback, as they would in any cluster.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use plexlab_apiserver::StaticUser;
use plexlab_kubelet::{ApiAccess, Image, ImageStore, NodeConfig, ProcessChange, ProcessEvent, Program};
use plexlab_postgres::{Binaries, Cache, Owner, Template};
use secrecy::SecretString;

use crate::backend::addresses::{AddressBlock, AllTaken};
use crate::backend::{BackendKind, ClusterSpec, Origin, Unavailable};
use crate::images::{Component, ImageSource, Images};
use crate::snapshot::moved::readdress;
use crate::timeline::{Entry, Source, Timeline};

/// The first argument with which this program is one of the stand-ins.
pub const FIXTURE_ARGUMENT: &str = "fixture";

/// Users of the control loops, told apart from people in requests and audit logs.
const CONTROLLERS: &str = "system:kube-controller-manager";
const KUBELET: &str = "system:kubelet";

/// How long a node may be silent. Its kubelet is in this very process, so silence means a starved machine, not a
/// lost node: far longer than any starvation seen with 50 agents starting at once.
pub(super) const NODE_SILENCE: Duration = Duration::from_secs(300);

/// Starting the embedded cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No Postgres server program could be found or downloaded, or it does not work.
    #[error("{0}")]
    Postgres(String),
    /// No addresses are left.
    #[error(transparent)]
    Addresses(#[from] AllTaken),
    /// The API server did not start.
    #[error("start the API server: {0}")]
    ApiServer(String),
    /// A client of the API server could not be made.
    #[error("connect to the API server: {0}")]
    Client(String),
    /// The kubelet did not start.
    #[error("start the kubelet: {0}")]
    Kubelet(String),
}

/// A cluster in this process.
pub struct EmbeddedCluster {
    api_server: plexlab_apiserver::Handle,
    controllers: plexlab_controllers::Handle,
    kubelet: plexlab_kubelet::Handle,
    kubeconfig: String,
    addresses: AddressBlock,
}

impl std::fmt::Debug for EmbeddedCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedCluster").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl EmbeddedCluster {
    /// The admin kubeconfig.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig.clone()
    }

    /// Base URL of the API server.
    pub fn url(&self) -> String {
        self.api_server.url()
    }

    /// The process ids of all containers.
    pub(crate) fn processes(&self) -> Vec<i32> {
        self.kubelet.processes().into_iter().map(|process| process.pid).collect()
    }

    /// All objects at this moment.
    pub(crate) fn objects(&self) -> plexlab_apiserver::Snapshot {
        self.api_server.snapshot()
    }

    /// Second octet of its addresses.
    pub(crate) fn block(&self) -> u8 {
        self.addresses.second_octet()
    }

    /// Stops all in order: no new pods, then the pods, then the API.
    pub async fn stop(self) {
        self.controllers.stop().await;
        self.kubelet.stop().await;
        self.api_server.stop().await;
    }
}

/// Whether this machine lets containers be made of processes.
///
/// # Errors
/// [`Unavailable`] when it does not.
pub fn available() -> Result<(), Unavailable> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // What forbids an ordinary user to make namespaces, and the value that does.
    let switches = [
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let forbidden = switches.into_iter().find(|(switch, value, _)| {
        std::fs::read_to_string(format!("/proc/sys/{switch}")).is_ok_and(|text| text.trim() == *value)
    });
    match forbidden {
        None => Ok(()),
        Some((switch, value, command)) => Err(Unavailable {
            backend: BackendKind::Embedded,
            why: format!("containers need user namespaces, which {switch}={value} forbids to ordinary users"),
            hint: format!("`sudo {command}` allows them, or run as root"),
        }),
    }
}

/// Directory of the Postgres server programs that are installed, or why there are none.
///
/// # Errors
/// What was looked for, as text.
pub fn installed_postgres() -> Result<PathBuf, String> {
    Binaries::find().map(|found| found.directory().to_owned()).map_err(|error| error.to_string())
}

/// Starts the cluster.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(spec: ClusterSpec) -> Result<EmbeddedCluster, StartError> {
    let addresses = AddressBlock::take()?;
    let is_restored = spec.origin.is_some();
    let restore = spec.origin.map(|Origin { mut objects, block }| {
        readdress(&mut objects, block, addresses.second_octet());
        objects
    });
    // The database takes longest to prepare when nothing is cached: side by side with the API server.
    let (postgres, api_server) =
        tokio::join!(postgres_image(spec.cache.clone()), api_server(&addresses, restore));
    let (postgres, (api_server, kubelet_token)) = (postgres?, api_server?);
    let kubeconfig =
        |user: &str| api_server.kubeconfig(user).map_err(|error| StartError::Client(error.to_string()));
    let admin = kubeconfig("admin")?;
    let controllers = plexlab_controllers::Config {
        root_ca_pem: Some(api_server.ca_pem().to_owned()),
        node_monitor_grace: Some(NODE_SILENCE),
        ..plexlab_controllers::Config::local()
    };
    let controllers = plexlab_controllers::start(in_process(&api_server, CONTROLLERS)?, controllers).await;
    let api = ApiAccess { host: api_server.address().ip().to_string(), port: api_server.address().port() };
    let fail = |error: &dyn std::fmt::Display| StartError::Kubelet(error.to_string());
    let pod_cidr = addresses.pods().parse().map_err(|error| fail(&error))?;
    let mut kubelet = plexlab_kubelet::Config::new(
        in_process(&api_server, KUBELET)?,
        NodeConfig::cluster(&spec.nodes),
        spec.dir.join("kubelet"),
        pod_cidr,
        image_store(&spec.images, postgres),
        api,
        kubelet_token,
    );
    kubelet.reexec = own_program();
    kubelet.keep_pods = is_restored;
    let timeline = spec.timeline.clone();
    kubelet.on_process = Some(Arc::new(move |event| record(&timeline, event)));
    let kubelet = plexlab_kubelet::serve(kubelet).await.map_err(|error| fail(&error))?;
    Ok(EmbeddedCluster { api_server, controllers, kubelet, kubeconfig: admin, addresses })
}

/// From nothing to the API server's first answer, for measurements.
///
/// # Errors
/// [`StartError`] when it does not start or not answer.
pub async fn time_api_server() -> Result<Duration, StartError> {
    let addresses = AddressBlock::take()?;
    let begun = Instant::now();
    let (server, _) = api_server(&addresses, None).await?;
    let kubeconfig = server.kubeconfig("admin").map_err(|error| StartError::Client(error.to_string()))?;
    let version = client(&kubeconfig).await?.apiserver_version().await;
    let took = begun.elapsed();
    server.stop().await;
    version.map(|_| took).map_err(|error| StartError::Client(error.to_string()))
}

async fn api_server(
    addresses: &AddressBlock,
    restore: Option<plexlab_apiserver::Snapshot>,
) -> Result<(plexlab_apiserver::Handle, SecretString), StartError> {
    let fail = |error: &dyn std::fmt::Display| StartError::ApiServer(error.to_string());
    let kubelet_token = SecretString::from(uuid::Uuid::new_v4().to_string());
    let config = plexlab_apiserver::Config {
        service_cidr: addresses.services().parse().map_err(|error| fail(&error))?,
        users: [CONTROLLERS, KUBELET].map(|user| StaticUser::new(user, ["system:masters"])).into(),
        kubelet_token: Some(kubelet_token.clone()),
        restore,
        extra_addresses: vec![IpAddr::from([127, 0, 0, 1])],
        ..plexlab_apiserver::Config::default()
    };
    let server = plexlab_apiserver::serve(config).await.map_err(|error| fail(&error))?;
    Ok((server, kubelet_token))
}

pub(super) async fn client(kubeconfig: &str) -> Result<Client, StartError> {
    let fail = |error: &dyn std::fmt::Display| StartError::Client(error.to_string());
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|error| fail(&error))?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| fail(&error))?;
    Client::try_from(config).map_err(|error| fail(&error))
}

/// A client of the API without connections: the control loops of this process have some sixty watches between them,
/// each of which would be a TLS connection with its buffers on both sides.
pub(super) fn in_process(server: &plexlab_apiserver::Handle, user: &str) -> Result<Client, StartError> {
    let service = server.in_process(user).map_err(|error| StartError::Client(error.to_string()))?;
    let to_server = |request: http::Request<kube::client::Body>| request.map(axum::body::Body::new);
    Ok(Client::new(tower::ServiceBuilder::new().map_request(to_server).service(service), "default"))
}

/// This program, as the stand-ins' multi-call binary.
pub(super) fn own_program() -> Vec<std::ffi::OsString> {
    vec!["/proc/self/exe".into(), FIXTURE_ARGUMENT.into()]
}

/// The postgres image: the entrypoint applet, the machine's own server programs, an initialised template.
pub(super) async fn postgres_image(cache: PathBuf) -> Result<Image, StartError> {
    let fail = |error: &dyn std::fmt::Display| StartError::Postgres(error.to_string());
    let cache = Cache::at(cache);
    let binaries = Binaries::find_or_download(&cache).await.map_err(|error| fail(&error))?;
    let directory = binaries.directory().to_owned();
    let prepare = move || Template::ensure(&cache, &binaries, &Owner::named("plexsphere"));
    let template = tokio::task::spawn_blocking(prepare).await.map_err(|error| fail(&error))?;
    let template = template.map_err(|error| fail(&error))?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let mut image = stand_in("postgres");
    image.env.insert("PLEXLAB_POSTGRES_BINARIES".into(), text(&directory));
    image.env.insert("PLEXLAB_POSTGRES_TEMPLATE".into(), text(template.directory()));
    // Downloaded programs come with their libraries beside them.
    let installation = directory.parent().unwrap_or(&directory).to_owned();
    image.contents = vec![installation, template.directory().to_owned()];
    Ok(image)
}

fn stand_in(applet: &str) -> Image {
    let mut image = Image::stand_in(applet);
    if let Program::StandIn { multicall, .. } = &mut image.program {
        *multicall = own_program();
    }
    image
}

/// The image of the cloudless blueprint's enrolment Job, by its tag: the Job's script calls `curl`, which this program
/// is when it is started under that name, so that the machine needs none.
const ENROLMENT_IMAGE: &str = "curlimages/curl:8.11.1";

fn enrolment_image() -> Image {
    let mut image = stand_in("curl");
    image.names = vec!["curl".to_owned()];
    image.user = 100;
    image
}

pub(super) fn image_store(images: &Images, postgres: Image) -> ImageStore {
    let store = ImageStore::new().with(ENROLMENT_IMAGE, enrolment_image());
    Component::ALL.into_iter().fold(store, |store, component| {
        let image = match (component, images.source(component)) {
            (Component::Postgres, _) => postgres.clone(),
            (_, ImageSource::Bin(path)) => Image::executable(path),
            _ => stand_in(component.name()),
        };
        store.with(component.image(), image)
    })
}

/// A process that started or ended, as a timeline entry.
pub(super) fn record(timeline: &Timeline, event: &ProcessEvent) {
    let what = match event.change {
        ProcessChange::Started => format!("{} started as process {}", event.container, event.pid),
        ProcessChange::Ended(code) => format!("{} ended with exit code {code}", event.container),
    };
    timeline.add(Entry {
        at: event.at,
        source: Source::Process,
        actor: format!("Pod {}/{}", event.namespace, event.pod),
        what,
        fields: [("node".to_owned(), event.node.clone()), ("attempt".to_owned(), event.attempt.to_string())]
            .into(),
    });
}
