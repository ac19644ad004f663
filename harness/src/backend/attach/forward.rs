//! Reaches a Service from this machine: a port of 127.0.0.1 whose connections go through the API server to a pod.
//!
//! Each connection picks a pod that is ready then, so a pod that is replaced is left with its connections, and the next
//! ones go to its successor.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long finding a pod and opening the way to it may take; a client has its own limit for the rest.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// The way to a Service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The API server refused, or did not answer.
    #[error("{0}")]
    Api(Box<kube::Error>),
    /// The Service has nothing to forward to.
    #[error("{0}")]
    Shape(String),
    /// The port could not be opened.
    #[error("open a port of 127.0.0.1: {0}")]
    Port(#[from] io::Error),
}

impl From<kube::Error> for ForwardError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// A Service's first port, as pods are found for it.
#[derive(Debug, Clone)]
struct Target {
    pods: Api<Pod>,
    selector: String,
    port: IntOrString,
    name: String,
}

/// A port of 127.0.0.1 that leads to a Service, until dropped.
#[derive(Debug)]
pub(super) struct Forward {
    /// Where it listens.
    pub(super) address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Forward {
    /// Opens it for a Service's first port.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub(super) async fn open(client: &Client, namespace: &str, service: &str) -> Result<Self, ForwardError> {
        let spec = Api::<Service>::namespaced(client.clone(), namespace)
            .get(service)
            .await?
            .spec
            .unwrap_or_default();
        let selector = selector(&spec.selector.unwrap_or_default());
        let port = spec.ports.unwrap_or_default().into_iter().next();
        let port = port.ok_or_else(|| ForwardError::Shape("it has no port".into()))?;
        let target = Target {
            pods: Api::namespaced(client.clone(), namespace),
            selector,
            port: port.target_port.unwrap_or(IntOrString::Int(port.port)),
            name: format!("{namespace}/{service}"),
        };
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target));
        Ok(Self { address, _accepting: accepting })
    }
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

async fn accept(listener: TcpListener, target: Target) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((inbound, _)) => {
                let target = target.clone();
                connections.spawn(async move {
                    // The client sees its connection end, as with a Service that has no endpoint.
                    if let Err(why) = carry(inbound, &target).await {
                        tracing::debug!(service = target.name, why, "a connection was not forwarded");
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

async fn carry(mut inbound: TcpStream, target: &Target) -> Result<(), String> {
    let open = async {
        let found = target.pods.list(&ListParams::default().labels(&target.selector)).await;
        let pods = found.map_err(|error| error.to_string())?.items;
        let (pod, port) = pick(&pods, &target.port).ok_or_else(|| "no pod is ready".to_owned())?;
        let mut forwarder =
            target.pods.portforward(&pod, &[port]).await.map_err(|error| error.to_string())?;
        let stream = forwarder.take_stream(port).ok_or_else(|| "no stream".to_owned())?;
        Ok::<_, String>((forwarder, stream))
    };
    let opened = tokio::time::timeout(OPENED_WITHIN, open).await;
    let (forwarder, mut outbound) =
        opened.map_err(|_| format!("no way to a pod within {OPENED_WITHIN:?}"))??;
    let carried = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
    forwarder.abort();
    carried.map(drop).map_err(|error| error.to_string())
}

/// The youngest ready pod, and the port of it that is meant.
fn pick(pods: &[Pod], port: &IntOrString) -> Option<(String, u16)> {
    let is_ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
        ready && pod.metadata.deletion_timestamp.is_none()
    };
    let pod = pods.iter().filter(is_ready).max_by_key(|pod| pod.creation_timestamp())?;
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let containers = pod.spec.as_ref()?.containers.iter();
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.find(|port| port.name.as_ref() == Some(name))?.container_port
        }
    };
    Some((pod.name_any(), u16::try_from(number).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, made: &str, ready: &str, leaving: bool) -> Pod {
        let mut pod = json!({
            "metadata": {"name": name, "creationTimestamp": made},
            "spec": {"containers": [{"name": "a", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        if leaving {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z");
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn the_youngest_pod_that_is_ready_and_stays_is_picked() {
        let pods = [
            pod("old", "2026-01-01T00:00:00Z", "True", false),
            pod("young", "2026-01-01T00:00:01Z", "True", false),
            pod("younger", "2026-01-01T00:00:02Z", "False", false),
            pod("leaving", "2026-01-01T00:00:03Z", "True", true),
        ];
        let named = IntOrString::String("http".into());
        assert_eq!(pick(&pods, &named), Some(("young".into(), 8080)));
        assert_eq!(pick(&pods, &IntOrString::Int(9)), Some(("young".into(), 9)));
        assert_eq!(pick(&pods, &IntOrString::String("grpc".into())), None);
        assert_eq!(pick(&pods[2..], &named), None);
    }
}
