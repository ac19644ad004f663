//! What a stack's objects must say differently when another stack is born of them. Pure.
//!
//! - Addresses: every stack has its own block, so `127.S.` becomes `127.T.` wherever it stands, in Secrets, too.
//! - Secrets that every stack draws anew: the two seeded people's tokens and the store's root token.
//! - Readiness: nothing runs yet, so no pod, endpoint or workload may be called ready.
//!
//! Names, uids, revisions and everything that users made stay.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plexlab_apiserver::Snapshot;
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

use crate::stack::secrets::Secrets;

/// Puts addresses of block `to` in the place of those of block `from`.
pub fn readdress(snapshot: &mut Snapshot, from: u8, to: u8) {
    // Neither a longer number nor a longer dotted one, such as 10.127.5.1.
    let Ok(pattern) = Regex::new(&format!(r"(^|[^0-9.])127\.{from}\.([0-9])")) else { return };
    let rename = |text: &str| -> Option<String> {
        pattern.is_match(text).then(|| {
            pattern
                .replace_all(text, |found: &Captures<'_>| format!("{}127.{to}.{}", &found[1], &found[2]))
                .into()
        })
    };
    for objects in snapshot.collections.values_mut() {
        objects.iter_mut().for_each(|object| each_text(object, &rename));
    }
    for secret in snapshot.objects_mut("", "secrets") {
        for value in secret["data"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            let bytes = value.as_str().and_then(|encoded| STANDARD.decode(encoded).ok());
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some(changed) = text.and_then(|text| rename(&text)) {
                *value = STANDARD.encode(changed).into();
            }
        }
    }
}

fn each_text(value: &mut Value, rename: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(changed) = rename(text) {
                *text = changed;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, rename)),
        Value::Object(fields) => fields.values_mut().for_each(|field| each_text(field, rename)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Puts these secrets in the place of those that the stack had.
pub fn put_secrets(snapshot: &mut Snapshot, secrets: &Secrets) {
    for wanted in secrets.objects(true) {
        let is_it = |secret: &&mut Value| {
            ["name", "namespace"].iter().all(|field| secret["metadata"][field] == wanted["metadata"][field])
        };
        for secret in snapshot.objects_mut("", "secrets").iter_mut().filter(is_it) {
            for (key, text) in wanted["stringData"].as_object().into_iter().flatten() {
                secret["data"][key.as_str()] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
            }
        }
    }
}

/// As after a power cut: whatever ran is to be shown to run again before it counts.
pub fn nothing_runs(snapshot: &mut Snapshot) {
    for pod in snapshot.objects_mut("", "pods") {
        if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
            continue;
        }
        for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
                condition["status"] = "False".into();
                condition["reason"] = "ContainersNotReady".into();
            }
        }
        for container in pod["status"]["containerStatuses"].as_array_mut().into_iter().flatten() {
            container["ready"] = false.into();
            container["started"] = false.into();
        }
    }
    for (plural, fields) in [
        ("deployments", ["readyReplicas", "availableReplicas"]),
        ("replicasets", ["readyReplicas", "availableReplicas"]),
        ("statefulsets", ["readyReplicas", "availableReplicas"]),
        ("daemonsets", ["numberReady", "numberAvailable"]),
    ] {
        for workload in snapshot.objects_mut("apps", plural) {
            let required = plural == "daemonsets";
            if let Some(status) = workload["status"].as_object_mut() {
                for field in fields {
                    status.remove(field);
                }
                if required {
                    status.insert("numberReady".into(), json!(0));
                }
            }
        }
    }
    for slice in snapshot.objects_mut("discovery.k8s.io", "endpointslices") {
        if slice["metadata"]["name"] == "kubernetes" {
            continue;
        }
        for endpoint in slice["endpoints"].as_array_mut().into_iter().flatten() {
            endpoint["conditions"] = json!({"ready": false, "serving": false, "terminating": false});
        }
    }
}

/// The nodes' names in the order of their addresses: in this order they get the same places in another block.
pub fn nodes(snapshot: &Snapshot) -> Vec<String> {
    let address = |node: &Value| -> Option<std::net::Ipv4Addr> {
        let addresses = node["status"]["addresses"].as_array()?;
        let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
        internal["address"].as_str()?.parse().ok()
    };
    let mut nodes: Vec<_> = snapshot
        .objects("", "nodes")
        .iter()
        .filter_map(|node| Some((address(node)?, node["metadata"]["name"].as_str()?.to_owned())))
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, name)| name).collect()
}

/// The uids of all pods: only their directories are worth keeping.
pub fn pod_uids(snapshot: &Snapshot) -> Vec<String> {
    let pods = snapshot.objects("", "pods").iter();
    pods.filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(collection: &str, objects: Value) -> Snapshot {
        let objects = objects.as_array().unwrap().clone();
        Snapshot { revision: 7, collections: [(collection.to_owned(), objects)].into() }
    }

    #[test]
    fn addresses_of_the_block_move_and_others_stay() {
        let service = json!([{"spec": {"clusterIP": "127.41.0.9", "clusterIPs": ["127.41.0.9"]},
            "metadata": {"annotations": {"note": "http://127.41.0.9:8080/x,127.41.1.1 127.4.1.1 10.127.41.1 127.41 127.0.0.1"}}}]);
        let mut moved = snapshot("/services", service);
        readdress(&mut moved, 41, 200);
        let service = &moved.objects("", "services")[0];
        assert_eq!(service["spec"]["clusterIPs"][0], "127.200.0.9");
        assert_eq!(
            service["metadata"]["annotations"]["note"],
            "http://127.200.0.9:8080/x,127.200.1.1 127.4.1.1 10.127.41.1 127.41 127.0.0.1"
        );
    }

    #[test]
    fn addresses_inside_of_secrets_move_and_bytes_that_are_no_text_stay() {
        let (url, binary) = (STANDARD.encode("http://127.41.0.9:8200"), STANDARD.encode([0xff, 0x00, 0xfe]));
        let mut moved = snapshot("/secrets", json!([{"data": {"url": url, "binary": binary}}]));
        readdress(&mut moved, 41, 42);
        let data = &moved.objects("", "secrets")[0]["data"];
        assert_eq!(data["url"], STANDARD.encode("http://127.42.0.9:8200"));
        assert_eq!(data["binary"], binary);
    }

    #[test]
    fn running_pods_are_not_ready_and_finished_ones_stay_as_they_are() {
        let status = |phase: &str| {
            json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "a", "ready": true}]}})
        };
        let mut still = snapshot("/pods", json!([status("Running"), status("Succeeded")]));
        nothing_runs(&mut still);
        let pods = still.objects("", "pods");
        assert_eq!(pods[0]["status"]["conditions"][0]["status"], "False");
        assert_eq!(pods[0]["status"]["containerStatuses"][0]["ready"], false);
        assert_eq!(pods[1], status("Succeeded"));
    }

    #[test]
    fn nodes_come_in_the_order_of_their_addresses() {
        let node = |name: &str, address: &str| json!({"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        let found = snapshot("/nodes", json!([node("a", "127.9.128.10"), node("b", "127.9.128.9")]));
        assert_eq!(nodes(&found), ["b", "a"]);
    }
}
