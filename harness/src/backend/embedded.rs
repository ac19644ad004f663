//! The embedded backend: API server, controllers and kubelet in this process; containers are processes.
//!
//! The three meet only at the Kubernetes API, over TLS on loopback, as they would in any cluster.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use plexlab_kubelet::{ApiAccess, NodeConfig};
use secrecy::SecretString;

use super::containers::{image_store, own_program, postgres_image, record};
use super::loops::{CONTROLLERS, KUBELET, Loops, controllers_of, in_process, loop_users};
use crate::backend::addresses::{AddressBlock, AllTaken};
use crate::backend::{ClusterSpec, Origin};
use crate::snapshot::moved::readdress;

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
    loops: Loops,
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
        self.loops.processes()
    }

    /// All objects at this moment.
    pub(crate) fn objects(&self) -> plexlab_apiserver::Snapshot {
        self.api_server.snapshot()
    }

    /// Second octet of its addresses.
    pub(crate) fn block(&self) -> u8 {
        self.addresses.second_octet()
    }

    /// Restarts the API server, as everybody sees it who has a connection: the containers, and this process's clients.
    ///
    /// # Errors
    /// When it does not come back.
    pub(crate) async fn restart_api_server(&self) -> Result<(), StartError> {
        self.api_server.restart().await.map_err(|error| StartError::ApiServer(error.to_string()))
    }

    /// Stops all in order: no new pods, then the pods, then the API.
    pub async fn stop(self) {
        self.loops.stop().await;
        self.api_server.stop().await;
    }
}

/// Starts the cluster.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(mut spec: ClusterSpec) -> Result<EmbeddedCluster, StartError> {
    let addresses = AddressBlock::take()?;
    let is_restored = spec.origin.is_some();
    let restore = spec.origin.take().map(|Origin { mut objects, block }| {
        readdress(&mut objects, block, addresses.second_octet());
        objects
    });
    // The database takes longest to prepare when nothing is cached: side by side with the API server.
    let (postgres, api_server) =
        tokio::join!(postgres_image(spec.cache.clone()), api_server(&addresses, restore));
    let postgres = postgres.map_err(StartError::Postgres)?;
    let (api_server, kubelet_token) = api_server?;
    let kubeconfig =
        |user: &str| api_server.kubeconfig(user).map_err(|error| StartError::Client(error.to_string()));
    let admin = kubeconfig("admin")?;
    let connect =
        |user: &str| in_process(&api_server, user).map_err(|error| StartError::Client(error.to_string()));
    let controllers = controllers_of(api_server.ca_pem());
    let controllers = plexlab_controllers::start(connect(CONTROLLERS)?, controllers).await;
    let api = ApiAccess { host: api_server.address().ip().to_string(), port: api_server.address().port() };
    let fail = |error: &dyn std::fmt::Display| StartError::Kubelet(error.to_string());
    let pod_cidr = addresses.pods().parse().map_err(|error| fail(&error))?;
    let mut kubelet = plexlab_kubelet::Config::new(
        connect(KUBELET)?,
        NodeConfig::cluster(&spec.nodes),
        spec.dir.join("kubelet"),
        pod_cidr,
        image_store(&spec, postgres),
        api,
        kubelet_token,
    );
    kubelet.reexec = own_program();
    kubelet.keep_pods = is_restored;
    let timeline = spec.timeline.clone();
    kubelet.on_process = Some(Arc::new(move |event| record(&timeline, event)));
    let kubelet = plexlab_kubelet::serve(kubelet).await.map_err(|error| fail(&error))?;
    let loops = Loops { controllers: Some(controllers), kubelet: Some(kubelet) };
    Ok(EmbeddedCluster { api_server, loops, kubeconfig: admin, addresses })
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
        users: loop_users().into(),
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
