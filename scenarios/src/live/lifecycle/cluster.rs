//! The management cluster of a race: an API server alone. What Crossplane, the garbage collector and the enrolment Job
//! would do, the race has done.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config, ResourceExt as _};
use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::backend::standalone::{ServeSpec, Standalone, start};
use plexlab_harness::paths::Paths;
use plexlab_lab::{Check, eventually};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::live::arena::{LiveError, PATIENCE};
use crate::live::field::Provisioned;

/// Group, version, kind and plural of the cloudless blueprint's Composite Resources, and of what goes with them.
const COMPOSITES: [&str; 4] =
    ["blueprints.plexsphere.com", "v1alpha1", "XKubernetesCloudlessNode", "xkubernetescloudlessnodes"];
const PROVIDER_CONFIGS: [&str; 4] =
    ["kubernetes.m.crossplane.io", "v1alpha1", "ProviderConfig", "providerconfigs"];
/// Which bootstrap token is in a Composite Resource.
const TOKEN_ANNOTATION: &str = "plexsphere.com/bootstrap-token-id";
/// What Crossplane says when the cluster calls an object of a substrate invalid: trying again does not help.
const GIVEN_UP: &str = "Unsynced resources: enrol";

/// A Composite Resource at one moment.
#[derive(Debug, Clone)]
pub struct Composite {
    /// Its version, which is another after each change.
    pub version: String,
    /// This one, and no later one of the same name.
    pub uid: String,
    /// It came up.
    pub ready: bool,
    /// It failed for good.
    pub failed: bool,
    /// Its end was asked for.
    pub terminating: bool,
    /// The id of the token in it.
    pub token: Option<Uuid>,
    /// That token.
    pub plaintext: Option<SecretString>,
}

/// The cluster.
pub struct ManagementCluster {
    standalone: Standalone,
    client: Client,
}

impl std::fmt::Debug for ManagementCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManagementCluster").field("url", &self.standalone.url()).finish_non_exhaustive()
    }
}

/// A custom kind without a schema.
fn definition([group, version, kind, plural]: [&str; 4]) -> serde_json::Result<CustomResourceDefinition> {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let properties = json!({"spec": open, "status": open});
    serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}}]},
    }))
}

fn kind([group, version, kind, plural]: [&str; 4]) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

impl ManagementCluster {
    /// Starts one that knows the kinds of the cloudless blueprint.
    ///
    /// # Errors
    /// When it does not start, or does not serve them.
    pub async fn start(paths: &Paths) -> Result<Self, LiveError> {
        plexlab_lab::tls::install_provider();
        let spec = ServeSpec {
            nodes: 0,
            controllers: false,
            tokens: None,
            audit: None,
            port: 0,
            kubeconfig: None,
            programs: Vec::new(),
            postgres: false,
            backend: BackendKind::Embedded,
            options: BackendOptions::default(),
        };
        let standalone = start(spec, paths).await.map_err(|error| LiveError::Cluster(error.to_string()))?;
        let unusable = |error: &dyn std::fmt::Display| LiveError::Cluster(error.to_string());
        let file = Kubeconfig::read_from(standalone.kubeconfig()).map_err(|error| unusable(&error))?;
        let choices = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(file, &choices).await.map_err(|error| unusable(&error))?;
        let client = Client::try_from(config)?;
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for names in [COMPOSITES, PROVIDER_CONFIGS] {
            let definition = definition(names).map_err(|error| unusable(&error))?;
            definitions.create(&PostParams::default(), &definition).await?;
        }
        let cluster = Self { standalone, client };
        cluster.serves().await?;
        Ok(cluster)
    }

    async fn serves(&self) -> Result<(), LiveError> {
        eventually("the kinds of the cloudless blueprint to be served", PATIENCE, || async {
            for names in [COMPOSITES, PROVIDER_CONFIGS] {
                let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind(names));
                if let Err(error) = api.list(&ListParams::default()).await {
                    return Check::NotYet(error.to_string());
                }
            }
            Check::Done(())
        })
        .await?;
        Ok(())
    }

    /// Restarts the API server: every watch breaks, and goes on from where it was once somebody answers again.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart(&self) -> Result<(), LiveError> {
        self.standalone.restart_api_server().await.map_err(|error| LiveError::Cluster(error.to_string()))?;
        self.serves().await
    }

    /// Path of the admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.standalone.kubeconfig().to_owned()
    }

    /// Stops it and removes its files.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub async fn stop(self) -> std::io::Result<()> {
        self.standalone.stop().await.map_err(std::io::Error::other)
    }

    fn api(&self, of: &Provisioned, names: [&str; 4]) -> Api<DynamicObject> {
        let namespace = format!("plexsphere-project-{}", of.project);
        Api::namespaced_with(self.client.clone(), &namespace, &kind(names))
    }

    /// The Composite Resource as it is now.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn composite(&self, of: &Provisioned) -> Result<Option<Composite>, LiveError> {
        let found = self.api(of, COMPOSITES).get_opt(&of.handle).await?;
        Ok(found.as_ref().map(read))
    }

    /// The same as a capsule keeps it: without what is in it, which is secret.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn describe(&self, of: &Provisioned) -> Result<Option<Value>, LiveError> {
        let found = self.api(of, COMPOSITES).get_opt(&of.handle).await?;
        Ok(found.map(|object| {
            json!({"name": object.name_any(), "uid": object.uid(), "deletionTimestamp": object.metadata.deletion_timestamp,
                "annotations": object.annotations(), "status": object.data["status"]})
        }))
    }

    /// As Crossplane does: says how it is with the substrate, and whether it was given up.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn set_state(&self, of: &Provisioned, ready: bool, failed: bool) -> Result<(), LiveError> {
        let status = json!({"status": {"conditions": conditions(ready, failed)}});
        let api = self.api(of, COMPOSITES);
        api.patch_status(&of.handle, &PatchParams::default(), &Patch::Merge(&status)).await?;
        Ok(())
    }

    /// As the garbage collector does: what waits for that goes, because nothing belongs to it. Says whether anything did.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn collect(&self, of: &Provisioned) -> Result<bool, LiveError> {
        let composite = finish(&self.api(of, COMPOSITES), &of.handle).await?;
        Ok(self.collect_provider(of).await? || composite)
    }

    /// The same of the provider configuration alone.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn collect_provider(&self, of: &Provisioned) -> Result<bool, LiveError> {
        finish(&self.api(of, PROVIDER_CONFIGS), &of.handle).await
    }
}

/// Takes its finalizers from an object that is to go.
async fn finish(api: &Api<DynamicObject>, name: &str) -> Result<bool, LiveError> {
    let found = api.get_opt(name).await?;
    if found.is_none_or(|found| found.metadata.deletion_timestamp.is_none()) {
        return Ok(false);
    }
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    match api.patch(name, &PatchParams::default(), &none).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn conditions(ready: bool, failed: bool) -> Vec<Value> {
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        let status = if status { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let reason = if ready { "Available" } else { "Creating" };
    let mut all = vec![condition("Ready", ready, reason, "")];
    all.extend(failed.then(|| condition("Synced", false, "ReconcileError", GIVEN_UP)));
    all
}

fn read(object: &DynamicObject) -> Composite {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let says = |kind: &str, status: &str| {
        let mut all = conditions.into_iter().flatten();
        all.any(|condition| condition["type"] == kind && condition["status"] == status)
    };
    let token = object.annotations().get(TOKEN_ANNOTATION).and_then(|id| id.parse().ok());
    let plaintext = object.data.pointer("/spec/parameters/helmValues/bootstrapToken").and_then(Value::as_str);
    Composite {
        version: object.resource_version().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
        ready: says("Ready", "True"),
        failed: says("Synced", "False"),
        terminating: object.metadata.deletion_timestamp.is_some(),
        token,
        plaintext: plaintext.map(SecretString::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_substrate_is_read_back() {
        for (ready, failed) in [(false, false), (true, false), (true, true), (false, true)] {
            let token = Uuid::from_u128(7);
            let object = serde_json::from_value(json!({
                "apiVersion": "g/v1", "kind": "X",
                "metadata": {"name": "x", "uid": "u", "resourceVersion": "3",
                    "annotations": {TOKEN_ANNOTATION: token.to_string()}},
                "spec": {"parameters": {"helmValues": {"bootstrapToken": "psb_canary"}}},
                "status": {"conditions": conditions(ready, failed)},
            }));
            let read = read(&object.unwrap());
            assert_eq!((read.ready, read.failed, read.terminating), (ready, failed, false));
            assert_eq!((read.version.as_str(), read.token), ("3", Some(token)));
            assert!(!format!("{read:?}").contains("canary"));
        }
    }
}
