//! Manifests that are right row by row and wrong as a whole: only the cluster that serves them can tell.

use serde_json::{Value, json};

use super::manifests::{Manifests, load};

/// One such set of manifests.
#[derive(Debug, Clone)]
pub struct Served {
    /// The statement that must fail.
    pub statement: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// The manifests.
    pub manifests: Manifests,
}

/// All of them.
pub fn served() -> Vec<Served> {
    let rules = |rule: Value| {
        move |role: &mut Value| {
            if let Some(rules) = role["rules"].as_array_mut() {
                rules.push(rule.clone());
            }
        }
    };
    vec![
        wrong(
            "rbac.granted",
            "kind/plexd/rbac.yaml binds the account to another role",
            ("ClusterRoleBinding", "plexd"),
            |binding| binding["roleRef"]["name"] = json!("plexd-state-reader"),
        ),
        wrong(
            "rbac.no-more",
            "kind/plexd/rbac.yaml grants pods, too",
            ("ClusterRole", "plexd"),
            rules(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]})),
        ),
        wrong(
            "rbac.consumers",
            "kind/plexd/rbac.yaml lets readers of states read secrets",
            ("ClusterRole", "plexd-state-reader"),
            rules(json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})),
        ),
        wrong(
            "state.columns",
            "kind/plexd/crds/plexdnodestate-crd.yaml has another column",
            ("CustomResourceDefinition", "plexdnodestates.plexd.plexsphere.com"),
            |definition| {
                let columns = &mut definition["spec"]["versions"][0]["additionalPrinterColumns"];
                if let Some(columns) = columns.as_array_mut() {
                    columns.push(json!({"name": "Updated", "type": "date", "jsonPath": ".lastUpdate"}));
                }
            },
        ),
        wrong(
            "daemonset.every-node",
            "kind/plexd/daemonset.yaml chooses nodes by a label",
            ("DaemonSet", "plexd"),
            |set| {
                set["spec"]["template"]["spec"]["nodeSelector"] = json!({"plexd.plexsphere.com/agent": "yes"})
            },
        ),
    ]
}

fn wrong(
    statement: &'static str,
    what: &'static str,
    (kind, name): (&str, &str),
    change: impl FnOnce(&mut Value),
) -> Served {
    let mut manifests = load();
    let objects = manifests.iter_mut().flat_map(|(_, objects)| objects);
    let mut found = objects.filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    if let Some(object) = found.next() {
        change(object);
    }
    drop(found);
    Served { statement, what, manifests }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plexd_kubernetes::ledger::{Finding, Ledger};
    use crate::plexd_kubernetes::manifests;
    use crate::plexd_kubernetes::suite;

    #[test]
    fn they_differ_and_no_row_tells() {
        let ids = suite::ids();
        for Served { statement, manifests: wrong, .. } in served() {
            assert!(ids.contains(&statement), "{statement}");
            assert_ne!(wrong, load(), "{statement}");
            let ledger = Ledger::default();
            manifests::judge(&wrong, &ledger);
            let failed: Vec<_> = ledger
                .into_findings()
                .into_iter()
                .filter(|(_, finding)| matches!(finding, Finding::Fail { .. }))
                .collect();
            assert!(failed.is_empty(), "{statement}: {failed:?}");
        }
    }
}
