//! Many ExternalSecrets of the same entry, each with a Secret of its own: made side by side, and waited for.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

/// Where they are.
const NAMESPACE: &str = "default";
/// How many are made at once.
const AT_ONCE: usize = 16;

/// ExternalSecrets of one entry.
#[derive(Clone)]
pub struct ManySecrets {
    api: Api<DynamicObject>,
    store: String,
    entry: String,
}

impl ManySecrets {
    /// Of this entry of this ClusterSecretStore.
    pub fn new(client: Client, store: &str, entry: &str) -> Self {
        let kind =
            ApiResource::from_gvk(&GroupVersionKind::gvk("external-secrets.io", "v1", "ExternalSecret"));
        let api = Api::namespaced_with(client, NAMESPACE, &kind);
        Self { api, store: store.to_owned(), entry: entry.to_owned() }
    }

    /// Makes so many.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn create(&self, many: u32) -> Result<(), Failure> {
        let made = stream::iter(0..many).map(|number| async move {
            let object = json!({
                "apiVersion": "external-secrets.io/v1",
                "kind": "ExternalSecret",
                "metadata": {"name": format!("many-{number:05}")},
                "spec": {
                    "refreshInterval": "1h",
                    "secretStoreRef": {"name": self.store, "kind": "ClusterSecretStore"},
                    "data": [{"secretKey": "token", "remoteRef": {"key": self.entry, "property": "token"}}],
                },
            });
            let object: DynamicObject = serde_json::from_value(object)?;
            self.api.create(&PostParams::default(), &object).await?;
            Ok(())
        });
        made.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Waits until so many are Ready.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn wait_ready(&self, many: u32, within: Duration) -> Result<(), Failure> {
        let is_ready = |object: &&DynamicObject| {
            let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
            conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        let waited = eventually(format!("{many} ExternalSecrets to be Ready"), within, || async {
            match self.api.list(&ListParams::default()).await {
                Ok(all) => {
                    let ready = all.items.iter().filter(is_ready).count();
                    let done = u32::try_from(ready).is_ok_and(|ready| ready >= many);
                    if done { Check::Done(()) } else { Check::NotYet(format!("{ready} are")) }
                }
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        Ok(waited.await?)
    }
}
