//! A stack that runs: every address is known.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use serde::{Deserialize, Serialize};

use crate::backend::embedded::EmbeddedCluster;
use crate::backend::kind::cluster::KindError;
use crate::backend::{BackendKind, Cluster};
use crate::clouds::{self, Cloud};
use crate::redact::Redactor;
use crate::stack::record::StackLock;
use crate::stack::secrets::Secrets;
use crate::stack::spec::StackSpec;
use crate::timeline::{Source, Timeline};

/// Where the parts of a stack answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Kubernetes API, `https://…`.
    pub kubernetes: String,
    /// Control plane, `http://…`: the published address if there is one, else the Service's; or where it runs elsewhere.
    pub control_plane: String,
    /// Secret store, `http://…`.
    pub vault: String,
    /// Database, `host:port`; none where it is that of a control plane elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<String>,
    /// The stand-ins of the stack's clouds, `http://…`; their test controls are there, too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clouds: BTreeMap<Cloud, String>,
    /// The proxy that leads to the clouds under their real addresses, `http://…`; none for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internet: Option<String>,
    /// Addresses of the cluster that pages lead to, and where this machine reaches them, both `host:port`; empty where
    /// this machine reaches the cluster's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detours: BTreeMap<String, String>,
    /// The server that the stack's Flux reads from, `http://…`; none where there is no Flux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_server: Option<String>,
}

impl Addresses {
    /// The database's connection string (the password is the contract's well-known development password), if the stack
    /// has one.
    pub fn dsn(&self) -> Option<String> {
        let postgres = self.postgres.as_ref()?;
        Some(format!("postgres://plexsphere:plexsphere@{postgres}/plexsphere"))
    }
}

/// The API server was not restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// It is not this process's.
    #[error("restart the API server: that of the {0} backend is not this process's to restart")]
    Backend(BackendKind),
    /// It did not come back.
    #[error(transparent)]
    Start(#[from] crate::backend::embedded::StartError),
}

/// A running stack; dropping it without [`RunningStack::stop`] ends its processes all the same, but not in order.
pub struct RunningStack {
    /// What was asked for.
    pub spec: StackSpec,
    /// Its directory.
    pub dir: PathBuf,
    /// Where its parts answer.
    pub addresses: Addresses,
    /// Its secrets.
    pub secrets: Secrets,
    /// Kubernetes client with admin rights.
    pub client: Client,
    /// The record of what happens in it.
    pub timeline: Timeline,
    /// Keeps its secrets out of outputs.
    pub redactor: Redactor,
    /// From the command to ready.
    pub took: Duration,
    pub(super) cluster: Cluster,
    pub(super) forwarder: Option<crate::stack::start::Forwarder>,
    pub(super) lock: StackLock,
}

impl std::fmt::Debug for RunningStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningStack").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

impl RunningStack {
    /// Path of the admin kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Its cluster, if that is of the embedded backend.
    pub(crate) fn embedded(&self) -> Option<&EmbeddedCluster> {
        match &self.cluster {
            Cluster::Embedded(cluster) => Some(cluster),
            Cluster::Envtest(_) | Cluster::Kind(_) | Cluster::Attached(_) => None,
        }
    }

    /// Restarts the API server: its connections break, and nobody is answered for a moment; its objects stay.
    ///
    /// # Errors
    /// When the backend cannot, or it does not come back.
    pub async fn restart_api_server(&self) -> Result<(), RestartError> {
        let cluster = self.embedded().ok_or(RestartError::Backend(self.spec.backend))?;
        self.timeline.record(Source::Stack, "harness", "restart the API server");
        Ok(cluster.restart_api_server().await?)
    }

    /// Path of the authority of the clouds' certificates, PEM.
    pub fn cloud_authority(&self) -> PathBuf {
        self.dir.join(clouds::AUTHORITY)
    }

    /// How a program that its cluster cannot be without ended by itself, if one has.
    pub fn cluster_ended(&self) -> Option<String> {
        self.cluster.ended()
    }

    /// Collects what the backend can tell of its nodes below the stack's directory.
    ///
    /// # Errors
    /// What the backend's own program said.
    pub async fn collect(&self) -> Result<(), KindError> {
        self.cluster.collect().await
    }

    /// Takes the stack down: everything it started ends, then its directory goes.
    ///
    /// # Errors
    /// When the directory cannot be removed, or something is left in a cluster that goes on.
    pub async fn stop(self) -> std::io::Result<()> {
        self.timeline.record(Source::Stack, "harness", "down");
        if let Some(forwarder) = self.forwarder {
            forwarder.stop().await;
        }
        // What is left in a cluster can only be found by what the directory says of it.
        self.cluster.stop().await.map_err(std::io::Error::other)?;
        self.lock.remove_dir()
    }
}
