//! The objects that are made and changed: of the size that tools make them.

use http::Method;
use serde_json::{Value, json};

use super::client::Request;

/// Where single objects are made and changed.
pub const SINGLE: &str = "bench-single";
/// Where the watched object is.
pub const WATCHED: &str = "bench-watched";
/// Where the many pods are.
pub const MANY: &str = "bench-many";
/// All of them.
pub const NAMESPACES: [&str; 3] = [SINGLE, WATCHED, MANY];

/// The kinds whose latencies are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hardly checked, hardly defaulted.
    ConfigMap,
    /// The most checked, defaulted and admitted of all.
    Pod,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ConfigMap => "ConfigMap",
            Kind::Pod => "Pod",
        }
    }

    fn path(self, namespace: &str) -> String {
        let plural = match self {
            Kind::ConfigMap => "configmaps",
            Kind::Pod => "pods",
        };
        format!("/api/v1/namespaces/{namespace}/{plural}")
    }

    fn object(self, name: &str) -> Value {
        match self {
            Kind::ConfigMap => config_map(name),
            Kind::Pod => pod(name, None),
        }
    }
}

/// What is asked of single objects, in an order in which all succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// POST.
    Create,
    /// GET.
    Get,
    /// PATCH, a merge patch of one label.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    /// In order.
    pub const ALL: [Self; 4] = [Self::Create, Self::Get, Self::Patch, Self::Delete];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Get => "get",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }

    /// The request for one object.
    pub fn request(self, kind: Kind, name: &str) -> Request {
        let all = kind.path(SINGLE);
        let path = format!("{all}/{name}");
        match self {
            Verb::Create => Request::json(Method::POST, all, &kind.object(name)),
            Verb::Get => Request::get(path),
            Verb::Patch => labelled(path, 1),
            Verb::Delete => Request { method: Method::DELETE, ..Request::get(path) },
        }
    }
}

/// A merge patch that sets one label to a value that it did not have.
pub fn labelled(path: String, value: usize) -> Request {
    Request::merge_patch(path, &json!({"metadata": {"labels": {"changed": value.to_string()}}}))
}

/// Makes a namespace.
pub fn namespace(name: &str) -> Request {
    Request::json(Method::POST, "/api/v1/namespaces", &json!({"metadata": {"name": name}}))
}

/// Makes the service account that pods have without naming one.
pub fn service_account(namespace: &str) -> Request {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    Request::json(Method::POST, path, &json!({"metadata": {"name": "default"}}))
}

/// Makes a pod that stays.
pub fn first_pod(namespace: &str) -> Request {
    Request::json(Method::POST, Kind::Pod.path(namespace), &pod("first", None))
}

/// Makes the object that is watched.
pub fn watched_config_map() -> Request {
    Request::json(Method::POST, Kind::ConfigMap.path(WATCHED), &config_map("watched"))
}

/// Changes it.
pub fn change_watched(number: usize) -> Request {
    labelled(format!("{}/watched", Kind::ConfigMap.path(WATCHED)), number)
}

/// Makes one of the many nodes.
pub fn create_node(index: usize) -> Request {
    Request::json(Method::POST, "/api/v1/nodes", &node(&node_name(index)))
}

/// Makes one of the many pods, on one of the many nodes.
pub fn create_pod(index: usize, nodes: usize) -> Request {
    let pod = pod(&pod_name(index), Some(&node_name(index % nodes)));
    Request::json(Method::POST, Kind::Pod.path(MANY), &pod)
}

/// Changes one of the many pods.
pub fn change_pod(index: usize) -> Request {
    labelled(format!("{}/{}", Kind::Pod.path(MANY), pod_name(index)), index)
}

fn node_name(index: usize) -> String {
    format!("node-{index}")
}

fn pod_name(index: usize) -> String {
    format!("pod-{index}")
}

fn config_map(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "data": {"endpoint": "https://example.com:8443/v1", "level": "info", "config.yaml": "a: 1\nb: 2\n".repeat(20)},
    })
}

fn pod(name: &str, node: Option<&str>) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10});
    json!({
        "metadata": {
            "name": name,
            "labels": {"app": "bench", "app.kubernetes.io/part-of": "bench"},
            "annotations": {"example.com/build": "3f2c1a"},
        },
        "spec": {
            "nodeName": node,
            "containers": [{
                "name": "main",
                "image": "registry.example.com/bench/main:1.2.3",
                "args": ["--listen=:8080", "--log-level=info"],
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [
                    {"name": "MODE", "value": "bench"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "64Mi"},
                    "limits": {"cpu": "500m", "memory": "128Mi"},
                },
                "livenessProbe": probe("/healthz"),
                "readinessProbe": probe("/readyz"),
                "volumeMounts": [{"name": "config", "mountPath": "/etc/bench"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "bench"}}],
        },
    })
}

fn node(name: &str) -> Value {
    let size = json!({"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {
            "capacity": size,
            "allocatable": size,
            "addresses": [{"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is ready"}],
        },
    })
}
