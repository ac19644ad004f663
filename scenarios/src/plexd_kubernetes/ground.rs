//! The ground that scenes stand on: the cluster, as its admin and as others see it, and the findings.

use std::net::SocketAddr;
use std::time::Duration;

use kube::{Client, Config, Error};
use plexlab_harness::agents::Generation;
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use super::api_proxy::ApiProxy;
use super::doors::Doors;
use super::hands::Hands;
use super::ledger::Ledger;
use super::manifests::Manifests;
use super::ways::Ways;
use crate::clients::cluster;

/// The group of the agent's kinds.
pub const GROUP: &str = "/apis/plexd.plexsphere.com/v1alpha1";
/// How long a scene waits for what should happen: long enough for a machine on which others build.
pub const WITHIN: Duration = Duration::from_secs(25);
/// How long it looks on for what should not.
pub const MEANWHILE: Duration = Duration::from_millis(2500);

/// The cluster, and where findings go.
pub struct Ground {
    /// Its admin.
    pub client: Client,
    /// How it is reached.
    pub config: Config,
    /// How its agents' probes and their local API are reached.
    pub doors: Doors,
    /// Where its API server is, for this process.
    pub api: SocketAddr,
    /// How pods reach this process.
    pub ways: Ways,
    /// Who writes and looks on the agents' nodes.
    pub hands: Hands,
    /// The agent's image.
    pub image: String,
    /// The agent's manifests.
    pub manifests: Manifests,
    /// Of which generation the agent may be.
    pub generations: &'static [Generation],
    /// Behaviours that the stand-in is to do without, with commas; none for the whole.
    pub without: Option<String>,
    /// The findings.
    pub ledger: Ledger,
}

async fn ask(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let request = request.body(bytes).map_err(Error::HttpError)?;
    client.request::<Value>(request).await
}

impl Ground {
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        ask(&self.client, method, path, body).await
    }

    /// A door in front of the cluster's API server, for an agent.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn proxy(&self) -> Result<ApiProxy, Failure> {
        ApiProxy::start(self.api, &self.ways).await
    }

    /// A token of the agent's account in a namespace, as any pod with that account has one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn token(&self, namespace: &str) -> Result<String, Failure> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/plexd/token");
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let made = self.create(&path, &asked).await?;
        Ok(made["status"]["token"].as_str().unwrap_or_default().to_owned())
    }

    /// Asks with a token in the place of the admin's credential: nothing if that was let through, even if what it was
    /// about is not there, else why it was forbidden.
    ///
    /// # Errors
    /// When there is no answer, or another one.
    pub async fn forbidden(
        &self,
        token: &str,
        (method, path): (&str, &str),
        body: Option<&Value>,
    ) -> Result<Option<String>, Failure> {
        let mut config = self.config.clone();
        config.auth_info = serde_json::from_value(json!({"token": token}))?;
        let client = Client::try_from(config)?;
        match ask(&client, method, path, body).await {
            Ok(_) => Ok(None),
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(Error::Api(status)) if status.code == 403 => Ok(Some(status.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// Gets what is there; none when it is not.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.ask("GET", path, None).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Failure> {
        Ok(self.ask("POST", path, Some(object)).await?)
    }

    /// Merges a patch into an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Value, Failure> {
        Ok(self.ask("PATCH", path, Some(patch)).await?)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.ask("DELETE", path, None).await?;
        Ok(())
    }

    /// Waits until what is at `path` is as wanted.
    ///
    /// # Errors
    /// With what was there last.
    pub async fn until(
        &self,
        what: &str,
        path: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let found = eventually(what, WITHIN, || async {
            match self.find(path).await {
                Ok(Some(found)) if wanted(&found) => Check::Done(found),
                Ok(Some(found)) => Check::NotYet(brief(&found)),
                Ok(None) => Check::NotYet("it is not there".into()),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }

    /// Makes a namespace with the agent's service account, which gets the agent's role.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn namespace(&self, name: &str) -> Result<(), Failure> {
        self.without_rights(name).await?;
        self.grant(name).await
    }

    /// The same without the role.
    pub async fn without_rights(&self, name: &str) -> Result<(), Failure> {
        self.create("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?;
        let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
        self.create(&accounts, &json!({"metadata": {"name": "plexd"}})).await?;
        Ok(())
    }

    /// Gives the agent's service account in a namespace the agent's role.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn grant(&self, name: &str) -> Result<(), Failure> {
        let binding = json!({
            "metadata": {"name": format!("plexd-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "plexd"},
            "subjects": [{"kind": "ServiceAccount", "name": "plexd", "namespace": name}],
        });
        self.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await?;
        Ok(())
    }

    /// Runs a program in a container; what it printed.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: &[&str],
    ) -> Result<String, Failure> {
        cluster::exec(&self.client, namespace, pod, container, command).await
    }
}

/// The beginning of an object, without who wrote which of its fields: what it is about comes after these.
fn brief(value: &Value) -> String {
    let mut value = value.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(600) {
        text.truncate(cut);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_last_shows_the_status_and_not_who_wrote_it() {
        let managers = json!([{"manager": "m".repeat(1000)}]);
        let pod =
            json!({"metadata": {"managedFields": managers, "name": "a"}, "status": {"phase": "Pending"}});
        assert_eq!(brief(&pod), r#"{"metadata":{"name":"a"},"status":{"phase":"Pending"}}"#);
        assert_eq!(brief(&json!("é".repeat(700))).chars().count(), 600);
    }
}
