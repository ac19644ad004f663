//! The backend's cluster: the real programs, and plexlab's controllers and kubelet.

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use plexlab_controllers::EndpointAddresses;
use plexlab_kubelet::{ApiAccess, ImageStore, NodeConfig};
use secrecy::SecretString;

use super::assets::Assets;
use super::real_kube::{self, RealKube, RealKubeError, RealKubeSpec};
use crate::backend::addresses::{AddressBlock, AllTaken};
use crate::backend::containers::{self, image_store, own_program, postgres_image, record};
use crate::backend::loops::{CONTROLLERS, KUBELET, Loops, controllers_of};
use crate::backend::{BackendKind, ClusterSpec, Unavailable};
use crate::timeline::Timeline;

/// Starting the cluster failed. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum EnvtestError {
    /// No Postgres server program could be found or downloaded, or it does not work.
    #[error("{0}")]
    Postgres(String),
    /// The real programs are not there (any more).
    #[error(transparent)]
    Assets(#[from] super::assets::MissingAssets),
    /// No addresses are left.
    #[error(transparent)]
    Addresses(#[from] AllTaken),
    /// The real programs did not start.
    #[error(transparent)]
    RealKube(#[from] RealKubeError),
    /// The `kubernetes` Service got no endpoint.
    #[error("tell where the API server answers: {0}")]
    Endpoint(String),
    /// The kubelet did not start.
    #[error("start the kubelet: {0}")]
    Kubelet(String),
}

/// Whether the real programs are there and containers can be made of processes.
///
/// # Errors
/// [`Unavailable`].
pub fn available() -> Result<(), Unavailable> {
    let backend = BackendKind::Envtest;
    if let Err(missing) = Assets::from_environment() {
        let hint = "`cargo xtask envtest VERSION` downloads etcd and kube-apiserver, and prints the directory to set it to";
        return Err(Unavailable { backend, why: missing.to_string(), hint: hint.to_owned() });
    }
    containers::available().map_err(|unavailable| Unavailable { backend, ..unavailable })
}

/// A cluster that runs.
pub struct EnvtestCluster {
    real: RealKube,
    kubeconfig: String,
    loops: Loops,
    _addresses: AddressBlock,
}

impl std::fmt::Debug for EnvtestCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvtestCluster").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl EnvtestCluster {
    /// How etcd or kube-apiserver ended, if one has ended by itself.
    pub fn ended(&self) -> Option<String> {
        self.real.ended()
    }

    /// The admin kubeconfig.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig.clone()
    }

    /// Base URL of the API server.
    pub fn url(&self) -> String {
        self.real.url()
    }

    /// Stops all in order: no new pods, then the pods, then the API.
    pub async fn stop(self) {
        self.loops.stop().await;
        // Waits for the processes' end, which a thread of the runtime must not.
        let _ = tokio::task::spawn_blocking(move || drop(self.real)).await;
    }
}

/// Starts the cluster.
///
/// # Errors
/// [`EnvtestError`].
pub async fn start(spec: ClusterSpec) -> Result<EnvtestCluster, EnvtestError> {
    let assets = Assets::from_environment()?;
    let addresses = AddressBlock::take()?;
    let real = real(assets, &spec.dir, &addresses);
    let postgres = postgres_image(spec.cache.clone());
    let (real, postgres) = tokio::join!(real, postgres);
    let (real, postgres) = (real?, postgres.map_err(EnvtestError::Postgres)?);
    let images = image_store(&spec, postgres);
    let loops = loops(&real, &spec.nodes, &spec.dir, &addresses, images, Some(spec.timeline.clone())).await?;
    let kubeconfig = real.kubeconfig("admin").unwrap_or_default();
    Ok(EnvtestCluster { real, kubeconfig, loops, _addresses: addresses })
}

/// Starts the real programs, with the loops' users.
pub(in crate::backend) async fn real(
    assets: Assets,
    directory: &Path,
    addresses: &AddressBlock,
) -> Result<RealKube, EnvtestError> {
    let spec = RealKubeSpec {
        assets,
        directory: directory.join("kubernetes"),
        host: addresses.servers(),
        services: (addresses.services(), addresses.first_service()),
        users: vec![CONTROLLERS, KUBELET],
    };
    let real = real_kube::start(spec).await?;
    announce_api_server(&real).await?;
    Ok(real)
}

/// Starts the controllers and the kubelet beside the real programs.
pub(in crate::backend) async fn loops(
    real: &RealKube,
    nodes: &[String],
    directory: &Path,
    addresses: &AddressBlock,
    images: ImageStore,
    timeline: Option<Timeline>,
) -> Result<Loops, EnvtestError> {
    let controllers = plexlab_controllers::Config {
        endpoint_addresses: EndpointAddresses::Names,
        mounted_authorities: true,
        ..controllers_of(&real.ca_pem)
    };
    let controllers = plexlab_controllers::start(real.client(CONTROLLERS).await?, controllers).await;
    let fail = |error: &dyn std::fmt::Display| EnvtestError::Kubelet(error.to_string());
    let mut kubelet = plexlab_kubelet::Config::new(
        real.client(KUBELET).await?,
        NodeConfig::cluster(nodes),
        directory.join("kubelet"),
        addresses.pods_beside_servers().parse().map_err(|error| fail(&error))?,
        images,
        ApiAccess { host: real.address.ip().to_string(), port: real.address.port() },
        // Nobody knows it: the real server presents its certificate instead.
        SecretString::from(uuid::Uuid::new_v4().to_string()),
    );
    kubelet.tls = Some(real.kubelet_tls.clone());
    kubelet.trust_client_certificates = true;
    kubelet.reexec = own_program();
    if let Some(timeline) = timeline {
        kubelet.on_process = Some(Arc::new(move |event| record(&timeline, event)));
    }
    let kubelet = plexlab_kubelet::serve(kubelet).await.map_err(|error| fail(&error))?;
    Ok(Loops { controllers: Some(controllers), kubelet: Some(kubelet) })
}

/// The endpoint of the `kubernetes` Service, which the API server itself may not write: its address is on loopback.
async fn announce_api_server(real: &RealKube) -> Result<(), EnvtestError> {
    let slice = EndpointSlice {
        metadata: ObjectMeta {
            name: Some("kubernetes".into()),
            namespace: Some("default".into()),
            labels: Some([("kubernetes.io/service-name".to_owned(), "kubernetes".to_owned())].into()),
            ..ObjectMeta::default()
        },
        address_type: "FQDN".into(),
        ports: Some(vec![EndpointPort {
            name: Some("https".into()),
            port: Some(i32::from(real.address.port())),
            protocol: Some("TCP".into()),
            ..EndpointPort::default()
        }]),
        endpoints: Some(vec![Endpoint {
            addresses: vec![real.address.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }]),
    };
    let api: Api<EndpointSlice> = Api::namespaced(real.client("admin").await?, "default");
    let created = api.create(&PostParams::default(), &slice).await;
    created.map(drop).map_err(|error| EnvtestError::Endpoint(error.to_string()))
}
