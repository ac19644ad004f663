//! Keeps the logs of a stack's containers in the stack's directory, as the embedded kubelet does by itself, so that
//! complaints and evidence are found at the same places on every backend.
//!
//! ```text
//! <stack>/pods/<namespace>_<pod>_<uid>/logs/<container>/<restarts>.log
//! ```

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tokio::task::JoinSet;

use crate::paths::create_private_dir;

/// Follows the logs of all pods in these namespaces, until dropped.
#[derive(Debug)]
pub(super) struct Keeping(JoinSet<()>);

impl Keeping {
    /// Starts.
    pub(super) fn start(client: &Client, stack: &Path, namespaces: &BTreeSet<String>) -> Self {
        let mut tasks = JoinSet::new();
        for namespace in namespaces {
            let pods = Api::namespaced(client.clone(), namespace);
            tasks.spawn(keep(pods, stack.join("pods"), namespace.clone()));
        }
        Self(tasks)
    }

    /// Ends it.
    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

async fn keep(api: Api<Pod>, root: PathBuf, namespace: String) {
    let selector = watcher::Config::default().labels("app.kubernetes.io/name");
    let mut changes = watcher(api.clone(), selector).default_backoff().applied_objects().boxed();
    let mut known = BTreeSet::new();
    let mut following = JoinSet::new();
    while let Some(change) = changes.next().await {
        let Ok(pod) = change else { continue };
        let place = root.join(format!("{namespace}_{}_{}", pod.name_any(), pod.uid().unwrap_or_default()));
        for container in pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()) {
            let state = container.state.clone().unwrap_or_default();
            let (attempt, directory) = (container.restart_count, place.join("logs").join(&container.name));
            let mut follow = |attempt: i32, previous: bool| {
                if known.insert((directory.clone(), attempt)) {
                    let to = directory.join(format!("{attempt}.log"));
                    following.spawn(copy(api.clone(), pod.name_any(), container.name.clone(), previous, to));
                }
            };
            // One that ended before it was seen to run: only the last one can still be asked for.
            if attempt > 0 && container.last_state.as_ref().is_some_and(|last| last.terminated.is_some()) {
                follow(attempt - 1, true);
            }
            if state.running.is_some() || state.terminated.is_some() {
                follow(attempt, false);
            }
        }
        while following.try_join_next().is_some() {}
    }
}

/// Copies one container's log to its end. What cannot be read is left out: a pod may be gone by now.
async fn copy(api: Api<Pod>, pod: String, container: String, previous: bool, to: PathBuf) {
    let parameters = LogParams {
        container: Some(container),
        follow: !previous,
        previous,
        timestamps: true,
        ..LogParams::default()
    };
    let (Ok(stream), Some(directory)) = (api.log_stream(&pod, &parameters).await, to.parent()) else {
        return;
    };
    if create_private_dir(directory).is_err() {
        return;
    }
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&to);
    let Ok(mut file) = file else { return };
    let mut lines = std::pin::pin!(stream.lines());
    while let Ok(Some(line)) = lines.try_next().await {
        // Which of the two streams it was is not told.
        let (time, text) = line.split_once(' ').unwrap_or((&line, ""));
        if writeln!(file, "{time} stdout F {text}").is_err() {
            return;
        }
    }
}
