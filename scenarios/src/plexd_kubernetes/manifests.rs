//! The reference's tables about manifests, as data; judged against `kind/plexd/`, without a cluster.
//!
//! Each row has a mutant of its own: the manifests with what it is about taken away.

use plexlab_harness::stack::manifests::parse;
use serde_json::{Value, json};

use super::ledger::{Finding, Ledger};

/// The files, as the reference names them.
const FILES: &[(&str, &str)] = &[
    ("namespace.yaml", include_str!("../../../kind/plexd/namespace.yaml")),
    ("crds/plexdnodestate-crd.yaml", include_str!("../../../kind/plexd/crds/plexdnodestate-crd.yaml")),
    ("crds/plexdhook-crd.yaml", include_str!("../../../kind/plexd/crds/plexdhook-crd.yaml")),
    ("serviceaccount.yaml", include_str!("../../../kind/plexd/serviceaccount.yaml")),
    ("rbac.yaml", include_str!("../../../kind/plexd/rbac.yaml")),
    ("daemonset.yaml", include_str!("../../../kind/plexd/daemonset.yaml")),
    ("secret.yaml", include_str!("../../../kind/plexd/secret.yaml")),
];

/// What a row expects.
#[derive(Debug, Clone)]
pub enum Expect {
    /// This value.
    Is(Value),
    /// These words, in any order, and no others.
    Words(Vec<&'static str>),
    /// Anything at all.
    There,
}

/// A row of one of the tables.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id on the command line.
    pub id: &'static str,
    /// The reference's section.
    pub section: &'static str,
    /// What it says.
    pub text: String,
    /// The file that it is about.
    pub file: &'static str,
    /// The object in that file, by kind and name.
    pub object: (&'static str, &'static str),
    /// Where in the object: `*KEY=VALUE` chooses the item of a list.
    pub at: String,
    /// What is to be there.
    pub expect: Expect,
}

/// The manifests, by file.
pub type Manifests = Vec<(&'static str, Vec<Value>)>;

/// All manifests.
pub fn load() -> Manifests {
    // They are compiled in, and a test reads every row of them.
    FILES.iter().map(|(name, text)| (*name, parse(text).unwrap_or_default())).collect()
}

/// The agent's rights: group, resource, verbs.
pub const RIGHTS: &[(&str, &str, &[&str])] = &[
    (
        "plexd.plexsphere.com",
        "plexdnodestates",
        &["get", "list", "watch", "create", "update", "patch", "delete"],
    ),
    ("plexd.plexsphere.com", "plexdnodestates/status", &["get", "patch", "update"]),
    ("", "secrets", &["create", "get", "update", "delete"]),
    ("plexd.plexsphere.com", "plexdhooks", &["get", "list", "watch"]),
    ("plexd.plexsphere.com", "plexdhooks/status", &["get", "update", "patch"]),
    ("batch", "jobs", &["create", "get", "list", "watch"]),
    ("authentication.k8s.io", "tokenreviews", &["create"]),
];

/// The roles for others.
pub const CONSUMERS: &[(&str, &str, &str, &[&str])] = &[
    ("plexd-state-reader", "plexd.plexsphere.com", "plexdnodestates", &["get", "list", "watch"]),
    ("plexd-state-reporter", "plexd.plexsphere.com", "plexdnodestates/status", &["get", "patch"]),
    ("plexd-secrets-reader", "", "secrets", &["get"]),
    ("plexd-hook-reader", "plexd.plexsphere.com", "plexdhooks", &["get", "list", "watch"]),
];

/// All rows.
pub fn rows() -> Vec<Row> {
    let mut rows = files();
    rows.extend(definition());
    rows.extend(rights());
    rows.extend(daemon_set());
    rows
}

fn row(
    id: &'static str,
    section: &'static str,
    text: impl Into<String>,
    at: (&'static str, (&'static str, &'static str), String),
    expect: Expect,
) -> Row {
    let (file, object, at) = at;
    Row { id, section, text: text.into(), file, object, at, expect }
}

fn files() -> Vec<Row> {
    let section = "Kubernetes manifests";
    let there = |id, text: &str, file, object, at: &str| {
        row(id, section, text, (file, object, at.to_owned()), Expect::There)
    };
    let state = ("CustomResourceDefinition", "plexdnodestates.plexd.plexsphere.com");
    let hook = ("CustomResourceDefinition", "plexdhooks.plexd.plexsphere.com");
    vec![
        there(
            "manifest.namespace",
            "namespace.yaml: Namespace plexd-system",
            "namespace.yaml",
            ("Namespace", "plexd-system"),
            "kind",
        ),
        there(
            "manifest.state",
            "crds/plexdnodestate-crd.yaml: CustomResourceDefinition",
            "crds/plexdnodestate-crd.yaml",
            state,
            "kind",
        ),
        there(
            "manifest.hook",
            "crds/plexdhook-crd.yaml: CustomResourceDefinition",
            "crds/plexdhook-crd.yaml",
            hook,
            "kind",
        ),
        there(
            "manifest.account",
            "serviceaccount.yaml: ServiceAccount",
            "serviceaccount.yaml",
            ("ServiceAccount", "plexd"),
            "kind",
        ),
        row(
            "manifest.binding",
            section,
            "rbac.yaml: ClusterRoleBinding of the agent's role to its account",
            ("rbac.yaml", ("ClusterRoleBinding", "plexd"), "subjects".into()),
            Expect::Is(json!([{"kind": "ServiceAccount", "name": "plexd", "namespace": "plexd-system"}])),
        ),
        there(
            "manifest.daemonset",
            "daemonset.yaml: DaemonSet",
            "daemonset.yaml",
            ("DaemonSet", "plexd"),
            "kind",
        ),
        there(
            "manifest.secret",
            "secret.yaml: Secret with the token's key",
            "secret.yaml",
            ("Secret", "plexd-bootstrap"),
            "stringData/token",
        ),
    ]
}

fn definition() -> Vec<Row> {
    let is = |id, text: &str, at: &str, value: Value| {
        let object = ("CustomResourceDefinition", "plexdnodestates.plexd.plexsphere.com");
        let place = ("crds/plexdnodestate-crd.yaml", object, at.to_owned());
        row(id, "PlexdNodeState CRD", text, place, Expect::Is(value))
    };
    let version = "spec/versions/*name=v1alpha1";
    let column = |id, name: &'static str, path: &str| {
        let at = format!("{version}/additionalPrinterColumns/*name={name}/jsonPath");
        is(id, &format!("printer column {name}"), &at, json!(path))
    };
    let field = |id, name: &str, at: &str, kind: &str| {
        let at = format!("{version}/schema/openAPIV3Schema/properties/{at}/type");
        is(id, &format!("field {name}"), &at, json!(kind))
    };
    vec![
        is("crd.group", "API group plexd.plexsphere.com", "spec/group", json!("plexd.plexsphere.com")),
        is("crd.kind", "kind PlexdNodeState", "spec/names/kind", json!("PlexdNodeState")),
        is("crd.plural", "plural plexdnodestates", "spec/names/plural", json!("plexdnodestates")),
        is("crd.short", "short name pns", "spec/names/shortNames", json!(["pns"])),
        is("crd.scope", "scope Namespaced", "spec/scope", json!("Namespaced")),
        is("crd.version", "version v1alpha1", &format!("{version}/served"), json!(true)),
        column("crd.column-node", "Node ID", ".spec.nodeId"),
        column("crd.column-mesh", "Mesh IP", ".spec.meshIp"),
        column("crd.column-age", "Age", ".metadata.creationTimestamp"),
        field("crd.node-id", "spec.nodeId", "spec/properties/nodeId", "string"),
        field("crd.mesh-ip", "spec.meshIp", "spec/properties/meshIp", "string"),
        field("crd.metadata", "spec.metadata", "spec/properties/metadata", "object"),
        field("crd.data", "spec.data", "spec/properties/data", "array"),
        field("crd.secret-refs", "spec.secretRefs", "spec/properties/secretRefs", "array"),
        field("crd.report", "status.report", "status/properties/report", "array"),
        field("crd.last-update", "lastUpdate", "lastUpdate", "string"),
        is("crd.status", "status is a subresource", &format!("{version}/subresources/status"), json!({})),
    ]
}

fn rights() -> Vec<Row> {
    const AGENT: [&str; 7] = [
        "rbac.states",
        "rbac.states-status",
        "rbac.secrets",
        "rbac.hooks",
        "rbac.hooks-status",
        "rbac.jobs",
        "rbac.reviews",
    ];
    const OTHERS: [&str; 4] =
        ["rbac.state-reader", "rbac.state-reporter", "rbac.secrets-reader", "rbac.hook-reader"];
    let verbs = |id, role: &'static str, resource: &'static str, verbs: &[&'static str]| {
        let text = format!("{role}: {resource}: {}", verbs.join(", "));
        let place = ("rbac.yaml", ("ClusterRole", role), format!("rules/*resources={resource}/verbs"));
        row(id, "RBAC permissions", text, place, Expect::Words(verbs.to_vec()))
    };
    let agent =
        AGENT.into_iter().zip(RIGHTS).map(|(id, (_, resource, list))| verbs(id, "plexd", resource, list));
    let others = OTHERS
        .into_iter()
        .zip(CONSUMERS)
        .map(|(id, (role, _, resource, list))| verbs(id, role, resource, list));
    agent.chain(others).collect()
}

fn daemon_set() -> Vec<Row> {
    let at = |at: &str| ("daemonset.yaml", ("DaemonSet", "plexd"), format!("spec/template/spec/{at}"));
    let container = |path: &str| at(&format!("containers/*name=plexd/{path}"));
    let set = |id, text: &str, place, value: Value| {
        row(id, "DaemonSet configuration", text, place, Expect::Is(value))
    };
    let mut rows = vec![
        set("daemonset.host-network", "hostNetwork: true", at("hostNetwork"), json!(true)),
        set(
            "daemonset.dns",
            "dnsPolicy: ClusterFirstWithHostNet",
            at("dnsPolicy"),
            json!("ClusterFirstWithHostNet"),
        ),
        set(
            "daemonset.priority",
            "priorityClassName: system-node-critical",
            at("priorityClassName"),
            json!("system-node-critical"),
        ),
        set(
            "daemonset.tolerations",
            "tolerations: operator: Exists",
            at("tolerations"),
            json!([{"operator": "Exists"}]),
        ),
        set(
            "daemonset.read-only-root",
            "readOnlyRootFilesystem: true",
            container("securityContext/readOnlyRootFilesystem"),
            json!(true),
        ),
        row(
            "daemonset.capabilities",
            "DaemonSet configuration",
            "capabilities NET_ADMIN, NET_RAW",
            container("securityContext/capabilities/add"),
            Expect::Words(vec!["NET_ADMIN", "NET_RAW"]),
        ),
    ];
    let variable = |id, name: &str, from: Value| {
        let place = container(&format!("env/*name={name}/valueFrom"));
        row(id, "Environment variables", format!("{name}: {from}"), place, Expect::Is(from))
    };
    rows.push(variable(
        "variable.node-name-source",
        "MY_NODE_NAME",
        json!({"fieldRef": {"fieldPath": "spec.nodeName"}}),
    ));
    rows.push(variable(
        "variable.token-source",
        "PLEXD_BOOTSTRAP_TOKEN",
        json!({"secretKeyRef": {"name": "plexd-bootstrap", "key": "token"}}),
    ));
    let mount = |id, path: &str, access: &str, value: Value| {
        let place = container(&format!("volumeMounts/*mountPath={path}"));
        row(id, "Volume mounts", format!("{path}: {access}"), place, Expect::Is(value))
    };
    rows.push(mount(
        "mount.config",
        "/etc/plexd",
        "ConfigMap, read-only",
        json!({"name": "config", "mountPath": "/etc/plexd", "readOnly": true}),
    ));
    rows.push(mount(
        "mount.data",
        "/var/lib/plexd",
        "read-write",
        json!({"name": "data", "mountPath": "/var/lib/plexd"}),
    ));
    rows.push(mount(
        "mount.run",
        "/var/run/plexd",
        "read-write",
        json!({"name": "run", "mountPath": "/var/run/plexd"}),
    ));
    rows.push(mount(
        "mount.audit",
        "/var/log/kubernetes/audit",
        "read-only",
        json!({"name": "audit", "mountPath": "/var/log/kubernetes/audit", "readOnly": true}),
    ));
    let volume = |id, name: &str, path: &str, value: &str| {
        let place = at(&format!("volumes/*name={name}/{path}"));
        row(id, "Volume mounts", format!("volume {name}: {value}"), place, Expect::Is(json!(value)))
    };
    rows.push(volume("volume.config", "config", "configMap/name", "plexd-config"));
    rows.push(volume("volume.data", "data", "hostPath/path", "/var/lib/plexd"));
    rows.push(volume("volume.run", "run", "hostPath/path", "/var/run/plexd"));
    rows.push(volume("volume.audit", "audit", "hostPath/path", "/var/log/kubernetes/audit"));
    rows
}

/// Judges all rows.
pub fn judge(manifests: &Manifests, ledger: &Ledger) {
    for row in rows() {
        match row.judge(manifests) {
            Finding::Pass { evidence } => ledger.pass(row.id, evidence),
            Finding::Fail { expected, seen, evidence, .. } => {
                ledger.fail(row.id, expected, seen, &evidence);
            }
            Finding::Skipped { why } => ledger.skip(row.id, why),
        }
    }
}

impl Row {
    fn judge(&self, manifests: &Manifests) -> Finding {
        let place = format!("kind/plexd/{}: {} {}: {}", self.file, self.object.0, self.object.1, self.at);
        let found = self.find(manifests);
        let holds = match (&self.expect, found) {
            (Expect::There, Some(_)) => true,
            (Expect::Is(value), Some(found)) => found == value,
            (Expect::Words(words), Some(found)) => {
                let mut found: Vec<&str> =
                    found.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let mut words = words.clone();
                found.sort_unstable();
                words.sort_unstable();
                found == words
            }
            (_, None) => false,
        };
        if holds {
            return Finding::Pass { evidence: place };
        }
        let seen = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
        Finding::Fail { expected: self.text.clone(), seen, evidence: place, cause: None }
    }

    fn object<'m>(&self, manifests: &'m Manifests) -> Option<&'m Value> {
        let (_, objects) = manifests.iter().find(|(file, _)| *file == self.file)?;
        objects
            .iter()
            .find(|object| object["kind"] == self.object.0 && object["metadata"]["name"] == self.object.1)
    }

    fn find<'m>(&self, manifests: &'m Manifests) -> Option<&'m Value> {
        let object = self.object(manifests)?;
        self.parts().into_iter().try_fold(object, |value, part| match item_of(part, value) {
            Some(index) => value.get(index),
            None => value.get(part),
        })
    }

    /// The path's parts; the last one keeps what has slashes of its own.
    fn parts(&self) -> Vec<&str> {
        let mut parts = Vec::new();
        let mut rest = self.at.as_str();
        while !rest.is_empty() {
            // What is chosen by a value with slashes goes up to the next part that is none of the value.
            let end = match rest.strip_prefix("*mountPath=").or_else(|| rest.strip_prefix("*resources=")) {
                Some(value) => {
                    let verbs = value.find("/verbs").unwrap_or(value.len());
                    rest.len() - value.len() + verbs
                }
                None => rest.find('/').unwrap_or(rest.len()),
            };
            parts.push(&rest[..end]);
            rest = rest[end..].trim_start_matches('/');
        }
        parts
    }

    /// The manifests without what this row is about.
    pub fn mutant(&self, manifests: &Manifests) -> Manifests {
        let mut mutant = manifests.clone();
        let parts = self.parts();
        let Some((_, objects)) = mutant.iter_mut().find(|(file, _)| *file == self.file) else {
            return mutant;
        };
        let Some(object) = objects
            .iter_mut()
            .find(|object| object["kind"] == self.object.0 && object["metadata"]["name"] == self.object.1)
        else {
            return mutant;
        };
        let Some((last, path)) = parts.split_last() else { return mutant };
        let mut place = object;
        for part in path {
            let next = match item_of(part, place) {
                Some(index) => place.get_mut(index),
                None => place.get_mut(*part),
            };
            match next {
                Some(next) => place = next,
                None => return mutant,
            }
        }
        match (&self.expect, item_of(last, place)) {
            // One verb less.
            (Expect::Words(_), None) => {
                if let Some(words) = place.get_mut(*last).and_then(Value::as_array_mut) {
                    words.pop();
                }
            }
            (_, Some(index)) => place[index] = json!({}),
            (_, None) => {
                if let Some(map) = place.as_object_mut() {
                    map.remove(*last);
                }
            }
        }
        mutant
    }
}

/// The index that `*KEY=VALUE` chooses in a list; a list of words is chosen by its first.
fn item_of(part: &str, value: &Value) -> Option<usize> {
    let (key, wanted) = part.strip_prefix('*')?.split_once('=')?;
    let is = |item: &Value| match &item[key] {
        Value::Array(words) => words.first().is_some_and(|word| word == wanted),
        other => other == wanted,
    };
    value.as_array()?.iter().position(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_hold_and_each_mutant_breaks_exactly_its_row() {
        let manifests = load();
        for row in rows() {
            assert!(
                matches!(row.judge(&manifests), Finding::Pass { .. }),
                "{}: {:?}",
                row.id,
                row.judge(&manifests)
            );
            let mutant = row.mutant(&manifests);
            let failed: Vec<_> = rows()
                .into_iter()
                .filter(|other| matches!(other.judge(&mutant), Finding::Fail { .. }))
                .map(|other| other.id)
                .collect();
            // Without its kind nothing of an object is found.
            let of_object =
                |id: &&str| rows().iter().any(|other| other.id == *id && other.object == row.object);
            assert!(failed.contains(&row.id) && failed.iter().all(of_object), "{}: {failed:?}", row.id);
            assert!(row.at == "kind" || failed == [row.id], "{}: {failed:?}", row.id);
        }
    }
}
