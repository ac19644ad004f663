//! What in a cluster is the stack's: marked when it is made, found again by the mark, removed with it.
//!
//! A stack marks each of its objects with a label and holds the cluster by a ConfigMap, which is made first and goes last.
//! Before that it looks whether anything that it would make is there already; then it makes nothing at all. Definitions
//! are the exception: one that is there is used as it is, and stays.
//!
//! The stack's directory says what was claimed ([`Ledger`]), so a driver that was killed leaves enough to clean up by.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};
use plexlab_lab::{Check, TimedOut, eventually};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::paths::write_private_file;
use crate::readiness::dynamic_api;
use crate::stack::plan::ObjectRef;

/// The label of everything that a stack makes; its value is the stack's name.
pub const LABEL: &str = "plexlab.dev/stack";
/// The namespace that the stack shares with others.
const SHARED: &str = "default";
/// The ConfigMap by which a stack holds a cluster, in [`SHARED`].
const CLAIM: &str = "plexlab-stack";
/// The label of the namespaces that a control plane makes for its Projects.
const PROJECT: &str = "plexsphere.com/project";
/// Where the agent keeps its files on a node.
pub const ON_NODES: [&str; 2] = ["/var/lib/plexd", "/var/run/plexd"];
/// How long what was deleted may take to be gone: pods get their time to end, controllers take their finalizers away.
const GONE_WITHIN: Duration = Duration::from_secs(120);
/// File name of the ledger in the stack's directory.
const LEDGER: &str = "attached.json";

/// What goes, in this order; each stage is gone before the next begins, so that the controllers that must take part in an
/// end are still there.
const STAGES: &[&[(&str, &str)]] = &[
    &[
        ("external-secrets.io/v1", "ClusterSecretStore"),
        ("apiextensions.crossplane.io/v2", "CompositeResourceDefinition"),
        ("apiextensions.crossplane.io/v1", "Composition"),
        ("kubernetes.m.crossplane.io/v1alpha1", "ClusterProviderConfig"),
    ],
    &[("apiextensions.k8s.io/v1", "CustomResourceDefinition")],
    &[
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("v1", "Service"),
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("v1", "ServiceAccount"),
        ("v1", "Namespace"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ],
];

/// The cluster cannot be had, or not be given back.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// Somebody else's objects are in the way.
    #[error(
        "the cluster has what the stack would make: {}; nothing was changed: remove them, or take another cluster",
        .0.join(", ")
    )]
    InTheWay(Vec<String>),
    /// Another stack is there.
    #[error(
        "the cluster has the stack `{stack}` of {by} already; take that down first (`cargo xtask down --name {stack}` \
         where it was made)"
    )]
    Taken {
        /// Its name.
        stack: String,
        /// Who made it.
        by: String,
    },
    /// The API server refused, or did not answer.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// Something would not go.
    #[error(transparent)]
    Left(#[from] TimedOut),
    /// The stack's directory.
    #[error("use {LEDGER} in the stack's directory: {0}")]
    Ledger(#[from] io::Error),
}

fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> OwnershipError {
    let what = what.into();
    move |source| OwnershipError::Api { what, source: Box::new(source) }
}

/// What was claimed, on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The stack's name.
    pub stack: String,
    /// Tells this claim from one of another stack with the same name.
    pub claim: Uuid,
}

impl Ledger {
    /// The ledger in a stack's directory; none if it claimed no cluster.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join(LEDGER)).ok()?).ok()
    }

    /// Nothing is claimed any more.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(dir: &Path) -> io::Result<()> {
        std::fs::remove_file(dir.join(LEDGER))
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        write_private_file(&dir.join(LEDGER), &serde_json::to_vec_pretty(self)?)
    }
}

/// Marks an object as this stack's.
pub fn mark(object: &mut Value, stack: &str) {
    object["metadata"]["labels"][LABEL] = json!(stack);
}

/// Keeps the agent's files off nodes that others go on using: they would be left there, and the next stack's agents would
/// find the identities of this one's. They last as long as the pod instead.
pub fn keep_off_nodes(object: &mut Value) {
    let volumes = object.pointer_mut("/spec/template/spec/volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        let path = volume["hostPath"]["path"].as_str().unwrap_or_default();
        if ON_NODES.contains(&path) {
            *volume = json!({"name": volume["name"], "emptyDir": {}});
        }
    }
}

/// Claims the cluster for a stack that is about to make these objects. Returns the names of the definitions that are there
/// already.
///
/// # Errors
/// [`OwnershipError`]; the cluster is as it was.
pub async fn claim(
    client: &Client,
    dir: &Path,
    stack: &str,
    objects: &[Value],
) -> Result<BTreeSet<String>, OwnershipError> {
    let claims = Api::<ConfigMap>::namespaced(client.clone(), SHARED);
    if let Some(found) = claims.get_opt(CLAIM).await.map_err(api("look for another stack"))? {
        return Err(taken(&found));
    }
    let (mut there, mut definitions) = (Vec::new(), BTreeSet::new());
    for object in objects {
        let reference = ObjectRef::of(object);
        match dynamic_api(client, &reference).get_opt(&reference.name).await {
            Ok(None) => {}
            // A kind that nobody has defined yet: the answer is not of the API, but plain text.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Ok(Some(_)) if reference.kind == "CustomResourceDefinition" => {
                definitions.insert(reference.name);
            }
            Ok(Some(_)) => there.push(reference.to_string()),
            Err(source) => return Err(api(format!("look for {reference}"))(source)),
        }
    }
    there.extend(
        projects(client).await?.into_iter().map(|name| format!("Namespace {name}, of a control plane")),
    );
    if !there.is_empty() {
        return Err(OwnershipError::InTheWay(there));
    }
    let ledger = Ledger { stack: stack.to_owned(), claim: Uuid::new_v4() };
    ledger.write(dir)?;
    let by = std::env::var("USER").unwrap_or_else(|_| "somebody".into());
    let by = format!("{by}@{}", rustix::system::uname().nodename().to_string_lossy());
    let claim = json!({
        "metadata": {"name": CLAIM, "labels": {LABEL: stack}},
        "data": {"stack": stack, "claim": ledger.claim, "by": by},
    });
    let claim = serde_json::from_value(claim).map_err(io::Error::from)?;
    match claims.create(&PostParams::default(), &claim).await {
        Ok(_) => Ok(definitions),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            Err(taken(&claims.get(CLAIM).await.map_err(api("look for another stack"))?))
        }
        Err(source) => Err(api("claim the cluster")(source)),
    }
}

fn taken(found: &ConfigMap) -> OwnershipError {
    let text = |key: &str| found.data.as_ref().and_then(|data| data.get(key)).cloned().unwrap_or_default();
    OwnershipError::Taken { stack: text("stack"), by: text("by") }
}

/// The namespaces of a control plane's Projects.
async fn projects(client: &Client) -> Result<Vec<String>, OwnershipError> {
    let found = Api::<Namespace>::all(client.clone()).list(&ListParams::default().labels(PROJECT)).await;
    Ok(found.map_err(api("list namespaces"))?.items.iter().map(ResourceExt::name_any).collect())
}

/// Removes all that this claim's stack made, and gives the cluster back. Does nothing where another claim, or none, holds
/// it.
///
/// # Errors
/// [`OwnershipError`]: what is left, or who refused.
pub async fn give_back(client: &Client, ledger: &Ledger) -> Result<(), OwnershipError> {
    let claims = Api::<ConfigMap>::namespaced(client.clone(), SHARED);
    let found = claims.get_opt(CLAIM).await.map_err(api("look for the claim"))?;
    let wanted = ledger.claim.to_string();
    let held = found.and_then(|found| found.data).and_then(|data| data.get("claim").cloned());
    if held != Some(wanted) {
        return Ok(());
    }
    let namespaces = Api::<Namespace>::all(client.clone());
    for name in projects(client).await? {
        deleted(namespaces.delete(&name, &DeleteParams::default()).await.map(drop)).map_err(api("delete"))?;
    }
    eventually("the namespaces of Projects to be gone", GONE_WITHIN, || async {
        match projects(client).await {
            Ok(left) if left.is_empty() => Check::Done(()),
            Ok(left) => Check::NotYet(left.join(", ")),
            Err(error) => Check::NotYet(error.to_string()),
        }
    })
    .await?;
    for kinds in STAGES {
        for object in labelled(client, kinds, ledger).await? {
            let what = format!("delete {object}");
            let gone = dynamic_api(client, &object).delete(&object.name, &DeleteParams::background()).await;
            deleted(gone.map(drop)).map_err(api(what))?;
        }
        eventually("the stack's objects to be gone", GONE_WITHIN, || async {
            match labelled(client, kinds, ledger).await {
                Ok(left) if left.is_empty() => Check::Done(()),
                Ok(left) => {
                    Check::NotYet(left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
                Err(error) => Check::NotYet(error.to_string()),
            }
        })
        .await?;
    }
    // The pods of the shared namespace; those of the others went with these.
    let pods = Api::<Pod>::namespaced(client.clone(), SHARED);
    let ours = ListParams::default().labels("app.kubernetes.io/name in (postgres, plexsphere, dex)");
    eventually("the stack's pods to be gone", GONE_WITHIN, || async {
        match pods.list(&ours).await {
            Ok(left) if left.items.is_empty() => Check::Done(()),
            Ok(left) => {
                Check::NotYet(left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(", "))
            }
            Err(error) => Check::NotYet(error.to_string()),
        }
    })
    .await?;
    deleted(claims.delete(CLAIM, &DeleteParams::default()).await.map(drop))
        .map_err(api("give the cluster back"))
}

/// What is gone already is as good as deleted.
fn deleted(outcome: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

/// The stack's objects of these kinds, but for the claim. A kind that is not served has none.
async fn labelled(
    client: &Client,
    kinds: &[(&str, &str)],
    ledger: &Ledger,
) -> Result<Vec<ObjectRef>, OwnershipError> {
    let selector = ListParams::default().labels(&format!("{LABEL}={}", ledger.stack));
    let mut found = Vec::new();
    for (api_version, kind) in kinds {
        let any = ObjectRef {
            api_version: (*api_version).to_owned(),
            kind: (*kind).to_owned(),
            namespace: None,
            name: String::new(),
        };
        let list: Vec<DynamicObject> = match dynamic_api(client, &any).list(&selector).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(source) => return Err(api(format!("list {kind}"))(source)),
        };
        found.extend(
            list.into_iter()
                .map(|object| ObjectRef {
                    namespace: object.namespace(),
                    name: object.name_any(),
                    ..any.clone()
                })
                .filter(|object| object.kind != "ConfigMap" || object.name != CLAIM),
        );
    }
    Ok(found)
}
