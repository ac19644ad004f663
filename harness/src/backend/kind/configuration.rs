//! What `kind create cluster` reads: `kind/cluster.yaml` with this stack's nodes, directory and port.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::paths::{create_private_dir, write_private_file};

/// The cluster of three nodes that the checkout shows.
const CLUSTER: &str = include_str!("../../../../kind/cluster.yaml");
/// What its API server logs.
const AUDIT_POLICY: &str = include_str!("../../../../kind/audit-policy.yaml");
/// Where the port of localhost goes, of which `<port>` speaks.
const PORT: &str = "<port>";
/// Where the directory goes, of which `<audit>` speaks.
const AUDIT: &str = "<audit>";

/// The configuration for so many nodes; without a port, the control plane is not published.
///
/// # Errors
/// When the file that is compiled in is not what it should be.
fn rendered(nodes: u32, audit: &Path, port: Option<u16>) -> Result<String, serde_norway::Error> {
    let text = CLUSTER.replace(AUDIT, &audit.display().to_string());
    let text = text.replace(PORT, &port.unwrap_or_default().to_string());
    let mut configuration: Value = serde_norway::from_str(&text)?;
    let first = configuration["nodes"][0].take();
    let workers = (1..nodes).map(|_| json!({"role": "worker"}));
    configuration["nodes"] = std::iter::once(first).chain(workers).collect();
    if port.is_none()
        && let Some(node) = configuration["nodes"][0].as_object_mut()
    {
        node.remove("extraPortMappings");
    }
    serde_norway::to_string(&configuration)
}

/// Writes the configuration below a directory, and what it mounts below another, which lasts as long as the cluster; the
/// configuration's path.
///
/// # Errors
/// The system's.
pub(super) fn write(dir: &Path, mounted: &Path, nodes: u32, port: Option<u16>) -> io::Result<PathBuf> {
    let audit = mounted.join("audit");
    for part in ["policy", "log"] {
        create_private_dir(&audit.join(part))?;
    }
    write_private_file(&audit.join("policy/policy.yaml"), AUDIT_POLICY.as_bytes())?;
    let path = dir.join("kind.yaml");
    let text = rendered(nodes, &audit, port).map_err(io::Error::other)?;
    write_private_file(&path, text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_port_and_directory_are_filled_in_and_the_rest_is_as_in_the_file() {
        let parsed = |nodes, port| -> Value {
            serde_norway::from_str(&rendered(nodes, Path::new("/stack/audit"), port).unwrap()).unwrap()
        };
        let (three, one) = (parsed(3, Some(8081)), parsed(1, None));
        let roles = |of: &Value| {
            of["nodes"].as_array().unwrap().iter().map(|node| node["role"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(roles(&three), ["control-plane", "worker", "worker"]);
        assert_eq!(three["nodes"][0]["extraPortMappings"][0]["hostPort"], 8081);
        assert_eq!(three["nodes"][0]["extraMounts"][1]["hostPath"], "/stack/audit/log");
        assert_eq!(roles(&one), ["control-plane"]);
        assert!(one["nodes"][0].get("extraPortMappings").is_none());
        assert_eq!(three["containerdConfigPatches"], one["containerdConfigPatches"]);
    }

    #[test]
    fn the_published_port_is_the_node_port_of_the_control_plane() {
        let manifest = include_str!("../../../../kind/stack/plexsphere.yaml");
        let three: Value = serde_norway::from_str(&rendered(3, Path::new("/x"), Some(1)).unwrap()).unwrap();
        let port = &three["nodes"][0]["extraPortMappings"][0]["containerPort"];
        assert!(manifest.contains(&format!("nodePort: {port}")), "{port}");
    }
}
