//! Any object of a cluster, by its names: read, waited for, annotated, deleted.

use std::time::Duration;

use base64::Engine as _;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use plexlab_harness::readiness::dynamic_api;
use plexlab_harness::run::Failure;
use plexlab_harness::stack::plan::ObjectRef;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

/// A client of a cluster.
#[derive(Clone)]
pub struct Objects {
    client: Client,
}

/// The names of an object.
pub fn named(api_version: &str, kind: &str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
        name: name.to_owned(),
    }
}

/// An object's condition; null when it has none of this type.
pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

/// Status, reason and message of a condition, for messages.
pub fn shown(object: &Value, kind: &str) -> String {
    let condition = condition(object, kind);
    let text = |field: &str| condition[field].as_str().unwrap_or("none").to_owned();
    format!("{kind}={} {}: {}", text("status"), text("reason"), text("message"))
}

impl Objects {
    /// With this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// An object; none when it, or its kind, is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get(&self, of: &ObjectRef) -> Result<Option<Value>, Failure> {
        let found = match dynamic_api(&self.client, of).get_opt(&of.name).await {
            // A kind that is not served is told in another way than an object that is not there.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            found => found?,
        };
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Waits until `judge` is content with an object, or with its absence; otherwise it says why not.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn until<T>(
        &self,
        what: &str,
        of: &ObjectRef,
        within: Duration,
        judge: impl Fn(Option<&Value>) -> Check<T>,
    ) -> Result<T, Failure> {
        let found = eventually(format!("{of} {what}"), within, || async {
            match self.get(of).await {
                Ok(object) => judge(object.as_ref()),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }

    /// Waits until an object's condition has this status, and a message with this text.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn until_condition(
        &self,
        of: &ObjectRef,
        (kind, status, text): (&str, &str, &str),
        within: Duration,
    ) -> Result<Value, Failure> {
        self.until(&format!("to have {kind}={status} with {text:?}"), of, within, |object| {
            let Some(object) = object else { return Check::NotYet("it is not there".to_owned()) };
            let found = condition(object, kind);
            let message = format!(
                "{}: {}",
                found["reason"].as_str().unwrap_or_default(),
                found["message"].as_str().unwrap_or_default()
            );
            if found["status"] == status && message.contains(text) {
                return Check::Done(object.clone());
            }
            Check::NotYet(shown(object, kind))
        })
        .await
    }

    /// Waits until an object has gone.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn until_gone(&self, of: &ObjectRef, within: Duration) -> Result<(), Failure> {
        self.until("to be gone", of, within, |object| match object {
            None => Check::Done(()),
            Some(object) => Check::NotYet(format!("it is there, {}", shown(object, "Ready"))),
        })
        .await
    }

    /// The messages of the events about an object, the oldest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn events(&self, about: &ObjectRef) -> Result<Vec<String>, Failure> {
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let of = format!("involvedObject.name={}", about.name);
        let events = api.list(&ListParams::default().fields(&of)).await?;
        Ok(events.items.into_iter().filter_map(|event| event.message).collect())
    }

    /// Merges something into an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn merge(&self, of: &ObjectRef, patch: &Value) -> Result<(), Failure> {
        dynamic_api(&self.client, of).patch(&of.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Sets an annotation, as `kubectl annotate --overwrite` does.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn annotate(&self, of: &ObjectRef, key: &str, value: &str) -> Result<(), Failure> {
        self.merge(of, &json!({"metadata": {"annotations": {key: value}}})).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, of: &ObjectRef) -> Result<(), Failure> {
        dynamic_api(&self.client, of).delete(&of.name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Whether a Secret has this entry with this value.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn has_secret(
        &self,
        (namespace, name): (&str, &str),
        (key, value): (&str, &str),
    ) -> Result<bool, Failure> {
        let secret = self.get(&named("v1", "Secret", namespace, name)).await?;
        let wanted = base64::engine::general_purpose::STANDARD.encode(value);
        Ok(secret.is_some_and(|secret| secret["data"][key] == wanted))
    }

    /// Waits until a Secret has this entry with this value. What else it holds is not told.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn until_secret(
        &self,
        place: (&str, &str),
        entry: (&str, &str),
        within: Duration,
    ) -> Result<(), Failure> {
        let what = format!("Secret {}/{} to have the right {}", place.0, place.1, entry.0);
        let found = eventually(what, within, || async {
            match self.has_secret(place, entry).await {
                Ok(true) => Check::Done(()),
                Ok(false) => Check::NotYet("it has not, or another".to_owned()),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }
}
