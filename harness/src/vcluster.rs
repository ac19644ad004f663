//! A virtual cluster in a stack: its objects (`kind/vcluster/`) for a name, a namespace and a configuration. No stack has
//! one of itself: scenarios bring it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use serde_json::{Value, json};

use crate::stack::manifests::{ManifestError, parse_file};

const FILE: (&str, &str) = ("vcluster.yaml", include_str!("../../kind/vcluster/vcluster.yaml"));

/// The container that syncs, for its log.
pub const CONTAINER: &str = "syncer";

/// The objects. Another configuration makes another pod, as with the real one.
///
/// # Errors
/// [`ManifestError`] when the file is not YAML.
pub fn objects(name: &str, namespace: &str, values: &str) -> Result<Vec<Value>, ManifestError> {
    let mut objects = parse_file(FILE)?;
    for object in &mut objects {
        fill(object, name, namespace);
        if object["kind"] == "Deployment" {
            let mut hasher = DefaultHasher::new();
            values.hash(&mut hasher);
            let hash = format!("{:016x}", hasher.finish());
            object["spec"]["template"]["metadata"]["annotations"] = json!({"vClusterConfigHash": hash});
        }
    }
    // After the namespace, before the pod.
    objects.insert(
        1,
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": format!("vc-config-{name}"), "namespace": namespace},
        "stringData": {"config.yaml": values}}),
    );
    Ok(objects)
}

fn fill(value: &mut Value, name: &str, namespace: &str) {
    match value {
        Value::String(text) => *text = text.replace("NAMESPACE", namespace).replace("NAME", name),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, name, namespace)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, name, namespace)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_another_configuration_is_another_pod() {
        let one = objects("my-vcluster", "team-x", "a: 1").unwrap();
        let text = serde_json::to_string(&one).unwrap();
        assert!(!text.contains("NAME") && text.contains("vc-my-vcluster-v-team-x"), "{text}");
        let two = objects("my-vcluster", "team-x", "a: 2").unwrap();
        assert_ne!(one.last(), two.last());
        assert_eq!(one[1]["stringData"]["config.yaml"], "a: 1");
    }
}
