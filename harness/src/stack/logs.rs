//! The last words of pods, for errors and for `cargo xtask logs`.

use crate::paths::write_private_file;
use crate::redact::Redactor;
use k8s_openapi::api::core::v1::Pod;
use std::path::Path;

use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt as _};

/// Lines shown per container in an error.
const SHOWN: i64 = 8;

/// The last log lines and the waiting reasons of the pods labelled `app.kubernetes.io/name=<name>`, each line
/// indented and on its own line; empty when there are none.
pub async fn last_lines(client: &Client, namespace: &str, name: &str) -> String {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={name}"));
    let mut text = String::new();
    for pod in api.list(&selector).await.map(|list| list.items).unwrap_or_default() {
        for waiting in waiting_reasons(&pod) {
            text.push_str(&format!("\n  pod {}: {waiting}", pod.name_any()));
        }
        let parameters = LogParams { tail_lines: Some(SHOWN), ..LogParams::default() };
        for line in api.logs(&pod.name_any(), &parameters).await.unwrap_or_default().lines() {
            text.push_str(&format!("\n  {}: {line}", pod.name_any()));
        }
    }
    text
}

fn waiting_reasons(pod: &Pod) -> Vec<String> {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default().into_iter();
    containers
        .filter_map(|container| container.state?.waiting)
        .map(|waiting| {
            format!("{} {}", waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())
        })
        .collect()
}

/// Copies the log files of a stack's containers (any `*.log` below its directory) to another directory, without
/// secrets. Files that cannot be read or written are left out: evidence is better than none.
pub fn copy_logs(stack: &Path, to: &Path, redactor: &Redactor) {
    let mut pending = vec![stack.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                let name = path.strip_prefix(stack).unwrap_or(&path).to_string_lossy().replace('/', "_");
                let text = std::fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let _ = write_private_file(&to.join(name), redactor.redact(&text).as_bytes());
            }
        }
    }
}

/// The logs of a component could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The kubeconfig cannot be used.
    #[error("use the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server did not answer, or refused.
    #[error("read logs: {0}")]
    Api(#[from] kube::Error),
}

/// The logs of the pods labelled `app.kubernetes.io/name=<workload>`, each with its pod's name; pods that have not started yet are left out.
///
/// # Errors
/// [`LogsError`] when the cluster cannot be asked.
pub async fn component_streams(
    kubeconfig: &Path,
    workload: &str,
    follow: bool,
) -> Result<Vec<(String, impl futures::AsyncBufRead + Unpin)>, LogsError> {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let selector = format!("app.kubernetes.io/name={workload}");
    let pods: Api<Pod> = Api::all(client.clone());
    let mut streams = Vec::new();
    for pod in pods.list(&ListParams::default().labels(&selector)).await?.items {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let parameters = LogParams { follow, ..LogParams::default() };
        if let Ok(stream) = api.log_stream(&pod.name_any(), &parameters).await {
            streams.push((pod.name_any(), Box::pin(stream)));
        }
    }
    Ok(streams)
}
