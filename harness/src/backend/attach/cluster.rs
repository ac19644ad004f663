//! The backend's cluster: one that is there already, with the stack's claim on it and the ways to its Services.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

use super::context::{Chosen, ContextError, choose};
use super::forward::{Forward, ForwardError};
use super::logs::Keeping;
use super::ownership::{Ledger, OwnershipError, claim, give_back};
use super::rbac;
use crate::backend::ClusterSpec;
use crate::backend::options::BackendOptions;

/// How long the cluster's API may take to answer the first question.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The cluster cannot be used. Nothing of the stack is left in it.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It cannot be chosen, or must not be.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// It does not answer.
    #[error("the cluster of the context `{context}` ({url}) does not answer: {why}; {hint}")]
    Unreachable {
        /// The context.
        context: String,
        /// Its API server.
        url: String,
        /// What was seen.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// Rights are missing.
    #[error(
        "the user of the context `{context}` may not: {}; `cargo xtask rbac` prints all that is needed, for `kubectl apply`",
        .missing.join(", ")
    )]
    Rights {
        /// The context.
        context: String,
        /// Verbs and resources.
        missing: Vec<String>,
    },
    /// No pod could run.
    #[error("the cluster of the context `{context}` has no node that is ready and takes pods: {seen}")]
    NoNode {
        /// The context.
        context: String,
        /// Its nodes.
        seen: String,
    },
    /// It belongs to somebody else, or was not given back.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
}

/// A cluster that a stack is attached to.
pub struct AttachedCluster {
    client: Client,
    url: String,
    kubeconfig: String,
    nodes: u32,
    dir: PathBuf,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for AttachedCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachedCluster").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    forwards: Vec<Forward>,
    definitions: BTreeSet<String>,
    keeping: Option<Keeping>,
}

/// A client of the chosen cluster, whose API has answered, and its nodes.
async fn ask(chosen: &Chosen) -> Result<(Client, Vec<Node>), AttachError> {
    plexlab_lab::tls::install_provider();
    let unreachable = |why: String, hint: &'static str| AttachError::Unreachable {
        context: chosen.context.clone(),
        url: chosen.url.clone(),
        why,
        hint,
    };
    let broken = "look at the kubeconfig";
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(chosen.kubeconfig.clone(), &options).await;
    let config = config.map_err(|error| unreachable(error.to_string(), broken))?;
    let client = Client::try_from(config).map_err(|error| unreachable(error.to_string(), broken))?;
    let api = Api::<Node>::all(client.clone());
    let list = ListParams::default();
    let asked = tokio::time::timeout(ANSWERS_WITHIN, api.list(&list)).await;
    let nodes = match asked {
        Err(_) => {
            return Err(unreachable(format!("no answer within {ANSWERS_WITHIN:?}"), "see whether it runs"));
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
            let hint = "its credentials are wrong or have expired: have new ones issued";
            return Err(unreachable(status.message.clone(), hint));
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            let missing = vec!["list nodes".to_owned()];
            return Err(AttachError::Rights { context: chosen.context.clone(), missing });
        }
        Ok(Err(error)) => {
            let why = chain(&error);
            let expired = why.to_ascii_lowercase().contains("expired");
            let hint = if expired {
                "a certificate has expired: renew it, or make the cluster anew"
            } else {
                "see whether it runs, and whether the kubeconfig is of this cluster"
            };
            return Err(unreachable(why, hint));
        }
        Ok(Ok(nodes)) => nodes.items,
    };
    Ok((client, nodes))
}

/// The same, with the names of the nodes that take pods.
async fn connect(chosen: &Chosen) -> Result<(Client, Vec<String>), AttachError> {
    let (client, nodes) = ask(chosen).await?;
    let usable: Vec<String> =
        nodes.iter().filter(|node| takes_pods(node)).map(ResourceExt::name_any).collect();
    if usable.is_empty() {
        let seen = if nodes.is_empty() {
            "it has none at all".to_owned()
        } else {
            let names: Vec<String> = nodes.iter().map(ResourceExt::name_any).collect();
            format!("{} are not", names.join(", "))
        };
        return Err(AttachError::NoNode { context: chosen.context.clone(), seen });
    }
    Ok((client, usable))
}

/// What an error says, with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    is_ready && !is_cordoned(node)
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

/// How many nodes take pods.
///
/// # Errors
/// [`AttachError`].
pub async fn nodes(options: &BackendOptions) -> Result<u32, AttachError> {
    let chosen = choose(options, Timestamp::now())?;
    let (_, nodes) = connect(&chosen).await?;
    Ok(u32::try_from(nodes.len()).unwrap_or(u32::MAX))
}

/// Has pods go to every node again: who cordoned some may have been stopped before that was taken back.
///
/// # Errors
/// [`AttachError`].
pub async fn uncordon(options: &BackendOptions) -> Result<(), AttachError> {
    let chosen = choose(options, Timestamp::now())?;
    let (client, nodes) = ask(&chosen).await?;
    let api = Api::<Node>::all(client);
    let open = Patch::Merge(json!({"spec": {"unschedulable": null}}));
    for node in nodes.iter().filter(|node| is_cordoned(node)) {
        let patched = api.patch(&node.name_any(), &PatchParams::default(), &open).await;
        patched.map_err(|source| {
            let what = format!("uncordon node {}", node.name_any());
            OwnershipError::Api { what, source: Box::new(source) }
        })?;
    }
    Ok(())
}

/// Attaches to the cluster. Nothing is changed in it yet.
///
/// # Errors
/// [`AttachError`].
pub async fn start(spec: &ClusterSpec) -> Result<AttachedCluster, AttachError> {
    let chosen = choose(&spec.options, Timestamp::now())?;
    let (client, nodes) = connect(&chosen).await?;
    let unreachable = |error: kube::Error| AttachError::Unreachable {
        context: chosen.context.clone(),
        url: chosen.url.clone(),
        why: chain(&error),
        hint: "see whether it runs",
    };
    let missing = rbac::missing(&client).await.map_err(unreachable)?;
    if !missing.is_empty() {
        return Err(AttachError::Rights { context: chosen.context, missing });
    }
    let kubeconfig = chosen.yaml().map_err(|error| ContextError::Unusable {
        path: spec.options.kubeconfig.clone().unwrap_or_default(),
        why: error.to_string(),
    })?;
    Ok(AttachedCluster {
        client,
        url: chosen.url,
        kubeconfig,
        nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        dir: spec.dir.clone(),
        inner: Mutex::default(),
    })
}

impl AttachedCluster {
    /// A kubeconfig with the chosen context alone.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig.clone()
    }

    /// Base URL of the API server.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// How many nodes take pods.
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims it for a stack that is about to make these objects, and keeps the logs of the pods to come.
    ///
    /// # Errors
    /// [`OwnershipError`]; then nothing was changed.
    pub async fn claim(&self, stack: &str, objects: &[Value]) -> Result<(), OwnershipError> {
        let definitions = claim(&self.client, &self.dir, stack, objects).await?;
        let namespaces = objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str());
        let namespaces: BTreeSet<String> =
            namespaces.chain(["plexsphere-system"]).map(str::to_owned).collect();
        let mut inner = self.inner();
        inner.definitions = definitions;
        inner.keeping = Some(Keeping::start(&self.client, &self.dir, &namespaces));
        Ok(())
    }

    /// Those of the objects that are to be made: definitions that were there before stay as they are.
    pub fn to_apply(&self, objects: &[Value]) -> Vec<Value> {
        let inner = self.inner();
        let is_foreign = |object: &&Value| {
            object["kind"] == "CustomResourceDefinition"
                && object["metadata"]["name"].as_str().is_some_and(|name| inner.definitions.contains(name))
        };
        objects.iter().filter(|object| !is_foreign(object)).cloned().collect()
    }

    /// `127.0.0.1:port`, from where a Service's first port is reached as long as the stack lives.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn forward(&self, namespace: &str, service: &str) -> Result<String, ForwardError> {
        let forward = Forward::open(&self.client, namespace, service).await?;
        let address = forward.address.to_string();
        self.inner().forwards.push(forward);
        Ok(address)
    }

    /// Lets go of it without removing anything: it ends anyway.
    pub async fn leave(self) {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(inner.forwards);
        if let Some(keeping) = inner.keeping {
            keeping.stop().await;
        }
    }

    /// Removes all that the stack made.
    ///
    /// # Errors
    /// [`OwnershipError`]: what is left.
    pub async fn stop(self) -> Result<(), OwnershipError> {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(inner.forwards);
        let outcome = match Ledger::read(&self.dir) {
            Some(ledger) => give_back(&self.client, &ledger).await,
            None => Ok(()),
        };
        if let Some(keeping) = inner.keeping {
            keeping.stop().await;
        }
        outcome
    }
}

/// Removes what the stack of this directory made in its cluster, if its driver was killed.
///
/// # Errors
/// [`AttachError`]: who does not answer, or what is left. Then the directory is to stay.
pub async fn clean_up_after(dir: &Path) -> Result<(), AttachError> {
    let Some(ledger) = Ledger::read(dir) else { return Ok(()) };
    let path = dir.join("kubeconfig");
    let file = Kubeconfig::read_from(&path)
        .map_err(|error| ContextError::Unusable { path: path.clone(), why: error.to_string() })?;
    let server = file.clusters.first().and_then(|cluster| cluster.cluster.as_ref()?.server.clone());
    let chosen = Chosen {
        context: file.current_context.clone().unwrap_or_default(),
        url: server.unwrap_or_default(),
        kubeconfig: file,
    };
    let (client, _) = connect(&chosen).await?;
    give_back(&client, &ledger).await?;
    Ok(Ledger::forget(dir).map_err(OwnershipError::from)?)
}
