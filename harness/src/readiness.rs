//! When an object counts as ready, by its kind; and waiting for it through a watch.
//!
//! Readiness is data read from the object, never a pause.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

use crate::stack::plan::ObjectRef;

/// An object did not become ready in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {within:?} for {object} to become ready; last seen: {last}")]
pub struct NotReady {
    /// Which object.
    pub object: Box<ObjectRef>,
    /// The limit.
    pub within: Duration,
    /// Why it was not ready when last seen.
    pub last: String,
}

/// Says why an object is not ready; nothing if it is.
pub fn why_not_ready(object: &Value) -> Option<String> {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
    let generation = number("/metadata/generation").unwrap_or(0);
    let observed = number("/status/observedGeneration").unwrap_or(generation);
    if observed < generation {
        return Some(format!("generation {generation} not yet observed (at {observed})"));
    }
    let replicas = |wanted: &str, have: &str| {
        let wanted = number(wanted).unwrap_or(1);
        let have = number(have).unwrap_or(0);
        (have < wanted).then(|| format!("{have}/{wanted} ready"))
    };
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => replicas("/spec/replicas", "/status/availableReplicas"),
        "StatefulSet" => replicas("/spec/replicas", "/status/readyReplicas"),
        "DaemonSet" => replicas("/status/desiredNumberScheduled", "/status/numberReady").or_else(|| {
            number("/status/desiredNumberScheduled").is_none().then(|| "no status yet".to_owned())
        }),
        "CustomResourceDefinition" | "CompositeResourceDefinition" => condition(object, "Established"),
        _ => condition(object, "Ready"),
    }
}

fn condition(object: &Value, name: &str) -> Option<String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == name);
    match found {
        None => Some(format!("no condition {name} yet")),
        Some(condition) if condition["status"] == "True" => None,
        Some(condition) => Some(format!(
            "{name} is {}: {} {}",
            condition["status"].as_str().unwrap_or("unknown"),
            condition["reason"].as_str().unwrap_or_default(),
            condition["message"].as_str().unwrap_or_default()
        )),
    }
}

/// The API for an object of any kind.
pub fn dynamic_api(client: &Client, object: &ObjectRef) -> Api<DynamicObject> {
    let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind));
    match &object.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Watches an object until it is ready, at most for `within`.
///
/// # Errors
/// [`NotReady`], with what was seen last.
pub async fn wait_ready(client: &Client, object: &ObjectRef, within: Duration) -> Result<(), NotReady> {
    let mut seen = watcher::watch_object(dynamic_api(client, object), &object.name).boxed();
    let mut last = String::from("nothing: the watch brought no answer");
    let wait = async {
        loop {
            match seen.try_next().await {
                Ok(Some(Some(found))) => {
                    let mut value = serde_json::to_value(&found).unwrap_or_default();
                    value["kind"] = object.kind.clone().into();
                    match why_not_ready(&value) {
                        None => return Ok(()),
                        Some(why) => last = format!("{} {why}", found.name_any()),
                    }
                }
                Ok(Some(None)) => last = "it does not exist".into(),
                Ok(None) => last = "the watch ended".into(),
                // The watcher retries by itself; an error is only the latest state of affairs.
                Err(error) => last = format!("the watch failed: {error}"),
            }
        }
    };
    match tokio::time::timeout(within, wait).await {
        Ok(outcome) => outcome,
        Err(_) => Err(NotReady { object: Box::new(object.clone()), within, last }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "availableReplicas": 1}}), Some("not yet observed"))]
    #[case(json!({"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "availableReplicas": 1}}), Some("1/2 ready"))]
    #[case(json!({"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "availableReplicas": 1}}), None)]
    #[case(json!({"kind": "DaemonSet", "metadata": {"generation": 1}, "spec": {}}), Some("0/1 ready"))]
    #[case(json!({"kind": "ClusterSecretStore", "status": {"conditions": [
        {"type": "Ready", "status": "False", "reason": "InvalidProviderConfig", "message": "no"}]}}),
        Some("InvalidProviderConfig"))]
    #[case(json!({"kind": "CustomResourceDefinition", "status": {"conditions": [
        {"type": "Established", "status": "True"}]}}), None)]
    fn readiness_is_read_from_the_object(#[case] object: Value, #[case] why: Option<&str>) {
        let found = why_not_ready(&object);
        match why {
            None => assert_eq!(found, None),
            Some(part) => assert!(found.as_deref().unwrap_or_default().contains(part), "{found:?}"),
        }
    }
}
