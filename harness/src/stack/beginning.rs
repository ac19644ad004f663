//! What a stack begins with: an empty cluster and a plan, or a snapshot.

use std::path::Path;

use plexlab_apiserver::Snapshot;

use crate::backend::Origin;
use crate::snapshot::kept::{SnapshotError, copy_volumes, read, read_objects};
use crate::snapshot::moved::{nothing_runs, pod_uids, put_secrets};
use crate::stack::plan::{ObjectRef, Plan, Step, plan};
use crate::stack::secrets::Secrets;
use crate::stack::spec::StackSpec;
use crate::stack::start::StartError;

/// What the start of a stack needs to know of it.
pub(super) struct Beginning {
    /// The steps.
    pub(super) plan: Plan,
    /// The nodes' names.
    pub(super) nodes: Vec<String>,
    /// The objects, if there are some already.
    pub(super) origin: Option<Origin>,
}

/// Of a snapshot: its volumes are copied into the stack's directory; nothing is applied, and what the stack consists of
/// and the snapshot has is waited for.
pub(super) async fn of_snapshot(
    spec: &StackSpec,
    secrets: &Secrets,
    snapshot: &Path,
    stack: &Path,
) -> Result<Beginning, StartError> {
    let record = read(snapshot)?;
    let mut objects = read_objects(snapshot)?;
    let (from, to, pods) = (snapshot.join("kubelet"), stack.join("kubelet"), pod_uids(&objects));
    let copied = tokio::task::spawn_blocking(move || copy_volumes(&from, &to, &pods)).await;
    let unusable =
        |panic| SnapshotError::Unusable { path: snapshot.to_owned(), source: std::io::Error::other(panic) };
    copied.map_err(unusable)?.map_err(SnapshotError::from)?;
    put_secrets(&mut objects, secrets);
    nothing_runs(&mut objects);
    let fresh = plan(spec, secrets)?;
    let mut steps = vec![Step::StartCluster { nodes: record.nodes.clone() }];
    for step in fresh.steps {
        match step {
            Step::WaitReady { objects: wanted } => {
                let there = wanted.into_iter().filter(|reference| holds(&objects, reference)).collect();
                steps.push(Step::WaitReady { objects: there });
            }
            Step::Publish { .. } => steps.push(step),
            Step::StartCluster { .. }
            | Step::Attach { .. }
            | Step::LoadImages { .. }
            | Step::Apply { .. } => {}
        }
    }
    Ok(Beginning {
        plan: Plan { spec: spec.clone(), steps },
        nodes: record.nodes,
        origin: Some(Origin { objects, block: record.block }),
    })
}

/// Whether the snapshot has this object. Stored objects do not say their kind; their collection does.
fn holds(objects: &Snapshot, reference: &ObjectRef) -> bool {
    let (group, _) = reference.api_version.split_once('/').unwrap_or_default();
    let plural = format!("{}s", reference.kind.to_lowercase());
    objects.objects(group, &plural).iter().any(|object| {
        object["metadata"]["name"] == reference.name.as_str()
            && object["metadata"]["namespace"].as_str() == reference.namespace.as_deref()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::spec::{Agent, Publish};
    use serde_json::json;

    #[test]
    fn everything_that_a_fresh_stack_waits_for_is_found_in_its_snapshot() {
        let spec = StackSpec {
            name: "dev".parse().unwrap(),
            nodes: 1,
            backend: crate::backend::BackendKind::Embedded,
            options: crate::backend::options::BackendOptions::default(),
            images: crate::images::Images::default(),
            clouds: crate::clouds::Clouds::new(),
            operator: crate::stack::spec::Operator::default(),
            agent: Agent::Deployed,
            publish: Publish::Nowhere,
        };
        let object = |namespace: Option<&str>, name: &str| {
            let metadata = match namespace {
                Some(namespace) => json!({"name": name, "namespace": namespace}),
                None => json!({"name": name}),
            };
            json!({"metadata": metadata})
        };
        let collections = [
            ("apps/deployments", Some("default"), "plexsphere"),
            ("apps/deployments", Some("default"), "dex"),
            ("apps/deployments", Some("crossplane-system"), "crossplane"),
            ("apps/deployments", Some("vault"), "vault"),
            ("apps/deployments", Some("external-secrets"), "external-secrets"),
            ("apps/statefulsets", Some("default"), "postgres"),
            ("external-secrets.io/clustersecretstores", None, "vault-backend"),
        ];
        let external_secrets = [
            "clusterexternalsecrets",
            "clusterpushsecrets",
            "clustersecretstores",
            "externalsecrets",
            "pushsecrets",
            "secretstores",
        ]
        .map(|plural| format!("{plural}.external-secrets.io"));
        let generators =
            ["clustergenerators", "fakes", "passwords", "uuids", "vaultdynamicsecrets", "webhooks"]
                .map(|plural| format!("{plural}.generators.external-secrets.io"));
        let crossplane = [
            ("compositeresourcedefinitions", "apiextensions.crossplane.io"),
            ("compositions", "apiextensions.crossplane.io"),
            ("compositionrevisions", "apiextensions.crossplane.io"),
            ("objects", "kubernetes.m.crossplane.io"),
            ("providerconfigs", "kubernetes.m.crossplane.io"),
            ("clusterproviderconfigs", "kubernetes.m.crossplane.io"),
        ]
        .map(|(plural, group)| format!("{plural}.{group}"));
        let plexd = ["plexdnodestates", "plexdhooks"].map(|plural| format!("{plural}.plexd.plexsphere.com"));
        let blueprint = "xkubernetescloudlessnodes.blueprints.plexsphere.com";
        let definitions = "apiextensions.k8s.io/customresourcedefinitions";
        let composites = "apiextensions.crossplane.io/compositeresourcedefinitions";
        let mut collections = Vec::from(collections);
        collections.extend(external_secrets.iter().map(|name| (definitions, None, name.as_str())));
        collections.extend(generators.iter().map(|name| (definitions, None, name.as_str())));
        collections.extend(crossplane.iter().map(|name| (definitions, None, name.as_str())));
        collections.extend(plexd.iter().map(|name| (definitions, None, name.as_str())));
        collections.push((composites, None, blueprint));
        let mut snapshot = Snapshot { revision: 1, collections: Default::default() };
        for (collection, namespace, name) in collections {
            let objects = snapshot.collections.entry(collection.to_owned()).or_default();
            objects.push(object(namespace, name));
        }
        for step in plan(&spec, &Secrets::placeholders()).unwrap().steps {
            if let Step::WaitReady { objects } = step {
                let missed: Vec<_> =
                    objects.iter().filter(|reference| !holds(&snapshot, reference)).collect();
                assert!(missed.is_empty(), "{missed:?}");
            }
        }
    }
}
