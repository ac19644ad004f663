//! Takes a part of the stack away and waits until it is back.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::json;

use super::ground::{Ground, WITHIN};
use crate::clients::cluster::exec;

/// What can be taken away without losing data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// The control plane's pod is killed, and the broker with it.
    ControlPlane,
    /// Crossplane's pod is killed.
    Crossplane,
    /// The database server crashes and recovers. (Its pod must not be killed: its data would go with it.)
    Database,
}

impl Outage {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::ControlPlane, Self::Crossplane, Self::Database];

    /// In a few words, also the name of a Project.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Crossplane => "crossplane",
            Self::Database => "database",
        }
    }

    /// Has it happen, and returns when everything answers again.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn happen(self, ground: &Ground<'_>) -> Result<(), Failure> {
        let killed = self.begin(ground).await?;
        self.end(ground, &killed).await
    }

    /// Has it happen. Returns what was killed.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn begin(self, ground: &Ground<'_>) -> Result<Vec<String>, Failure> {
        match self.workload() {
            Some((namespace, app)) => kill(&ground.client, namespace, app).await,
            None => {
                crash_database(ground).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Waits until everything answers again.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn end(self, ground: &Ground<'_>, killed: &[String]) -> Result<(), Failure> {
        if let Some((namespace, app)) = self.workload() {
            another(&ground.client, namespace, app, killed).await?;
        }
        answering(ground).await
    }

    fn workload(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::ControlPlane => Some(("default", "plexsphere")),
            Self::Crossplane => Some(("crossplane-system", "crossplane")),
            Self::Database => None,
        }
    }
}

fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced(client.clone(), namespace)
}

fn of(app: &str) -> ListParams {
    ListParams::default().labels(&format!("app.kubernetes.io/name={app}"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Kills the pods of a Deployment without grace. Returns their uids.
///
/// # Errors
/// When the API server refuses.
pub async fn kill(client: &Client, namespace: &str, app: &str) -> Result<Vec<String>, Failure> {
    let api = pods(client, namespace);
    let mut killed = Vec::new();
    for pod in api.list(&of(app)).await?.items {
        killed.extend(pod.uid());
        api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await
            .map(drop)
            .or_else(gone)?;
    }
    Ok(killed)
}

/// Kills a process of the database server, upon which the server ends all others and recovers from its log; until
/// that is done it refuses connections.
async fn crash_database(ground: &Ground<'_>) -> Result<(), Failure> {
    let process = ground.history.server_process().await?;
    let kill = format!("kill -KILL {}", process.id);
    exec(&ground.client, "default", "postgres-0", "postgres", &["sh", "-c", &kill]).await?;
    let gone = eventually("the database server to break its connections", WITHIN, || async {
        if process.is_gone() { Check::Done(()) } else { Check::NotYet("one is still open".to_owned()) }
    });
    Ok(gone.await?)
}

/// Waits for a pod that is ready and none of these.
///
/// # Errors
/// When there is none in time.
pub async fn another(client: &Client, namespace: &str, app: &str, killed: &[String]) -> Result<(), Failure> {
    let api = pods(client, namespace);
    let back = eventually(format!("another pod of {app} to be ready"), WITHIN, || async {
        match api.list(&of(app)).await {
            Ok(list) => {
                let fresh = |pod: &Pod| pod.uid().is_some_and(|uid| !killed.contains(&uid));
                if list.items.iter().any(|pod| fresh(pod) && is_ready(pod)) {
                    Check::Done(())
                } else {
                    Check::NotYet(format!("{} pods", list.items.len()))
                }
            }
            Err(error) => Check::NotYet(error.to_string()),
        }
    });
    Ok(back.await?)
}

fn gone(error: kube::Error) -> Result<(), kube::Error> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        other => Err(other),
    }
}

/// Runs so many Crossplanes: none, or one.
///
/// # Errors
/// When it does not become so.
pub async fn crossplanes(ground: &Ground<'_>, replicas: usize) -> Result<(), Failure> {
    scale(&ground.client, "crossplane-system", "crossplane", replicas).await
}

/// Runs so many pods of a Deployment: none, or one.
///
/// # Errors
/// When it does not become so.
pub async fn scale(client: &Client, namespace: &str, app: &str, replicas: usize) -> Result<(), Failure> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch(app, &PatchParams::default(), &scale).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let scaled = eventually(format!("{replicas} pods of {app}"), WITHIN, || async {
        match pods.list(&of(app)).await {
            Ok(list) if list.items.len() == replicas && list.items.iter().all(is_ready) => Check::Done(()),
            Ok(list) => Check::NotYet(format!("{} pods", list.items.len())),
            Err(error) => Check::NotYet(error.to_string()),
        }
    });
    Ok(scaled.await?)
}

/// Waits until the control plane answers, its database included.
///
/// # Errors
/// When it does not.
pub async fn answering(ground: &Ground<'_>) -> Result<(), Failure> {
    answering_at(&ground.http, &ground.run.stack.addresses.control_plane).await
}

/// The same for the control plane at an address.
///
/// # Errors
/// When it does not.
pub async fn answering_at(http: &reqwest::Client, base: &str) -> Result<(), Failure> {
    let url = format!("{base}/v1/health");
    let healthy = eventually("the control plane to answer", WITHIN, || async {
        match http.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => Check::Done(()),
            Ok(answer) => Check::NotYet(answer.status().to_string()),
            Err(error) => Check::NotYet(error.to_string()),
        }
    });
    Ok(healthy.await?)
}
