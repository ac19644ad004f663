//! The cluster's own Events and its pods' changes, as timeline entries.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::timeline::{Entry, Source, Timeline};

/// Watches until the token is cancelled.
pub async fn watch(client: Client, timeline: Timeline, shutdown: CancellationToken) {
    let events = watch_events(Api::all(client.clone()), timeline.clone());
    let pods = watch_pods(Api::all(client), timeline);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = events => {}
        () = pods => {}
    }
}

async fn watch_events(api: Api<Event>, timeline: Timeline) {
    let mut events = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                let object = &event.involved_object;
                let text = |part: &Option<String>| part.clone().unwrap_or_default();
                timeline.add(Entry {
                    at: Timestamp::now(),
                    source: Source::Kubernetes,
                    actor: format!(
                        "{} {}/{}",
                        text(&object.kind),
                        text(&object.namespace),
                        text(&object.name)
                    ),
                    what: format!("{}: {}", text(&event.reason), text(&event.message)),
                    fields: BTreeMap::new(),
                });
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "the watch of events goes on after an error"),
        }
    }
}

async fn watch_pods(api: Api<Pod>, timeline: Timeline) {
    let mut pods = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut shown = HashMap::<String, String>::new();
    loop {
        let (pod, gone) = match pods.try_next().await {
            Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => (pod, false),
            Ok(Some(watcher::Event::Delete(pod))) => (pod, true),
            Ok(Some(watcher::Event::Init | watcher::Event::InitDone)) => continue,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the watch of pods goes on after an error");
                continue;
            }
        };
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let state = if gone { "deleted".to_owned() } else { pod_state(&pod) };
        if shown.get(&name) != Some(&state) {
            timeline.record(Source::Kubernetes, &format!("Pod {name}"), &state);
            shown.insert(name, state);
        }
    }
}

/// A pod's state in a few words, as `kubectl get pods` would put it.
fn pod_state(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_else(|| "Pending".into());
    let containers = status.container_statuses.unwrap_or_default();
    let ready = containers.iter().filter(|container| container.ready).count();
    let restarts: i32 = containers.iter().map(|container| container.restart_count).sum();
    let reason = containers.iter().find_map(|container| {
        let state = container.state.as_ref()?;
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        waiting.or_else(|| state.terminated.as_ref().and_then(|terminated| terminated.reason.clone()))
    });
    let ending = if pod.metadata.deletion_timestamp.is_some() { ", terminating" } else { "" };
    let state = reason.unwrap_or(phase);
    format!("{state}, {ready}/{} ready, {restarts} restarts{ending}", containers.len())
}
