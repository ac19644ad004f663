//! Keeps a Resource in a phase, by what an administrator of the cluster can do: nothing in the control plane knows.
//!
//! | phase | what holds it |
//! |---|---|
//! | Pending | the Project's namespace is on its way out and cannot go |
//! | Provisioning | Crossplane is scaled to nothing ([`super::outage`]), or paused for the Composite Resource |
//! | Enrolling | all nodes are cordoned, so the enrolment Job's pod waits |
//! | Deregistering | the control plane's own switch `/__lab/drain` |
//! | Deprovisioning | a finalizer on the Composite Resource |

use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ground::{Ground, WITHIN, handle, namespace};
use crate::clients::plexsphere::resources::Resource;

/// The finalizer.
const HOLD: &str = "plexlab.dev/hold";

/// Makes the Project's namespace and deletes it; it stays, ending, until [`release_namespace`].
///
/// # Errors
/// When the API server refuses.
pub async fn namespace_ending(ground: &Ground<'_>, project: Uuid) -> Result<(), Failure> {
    let api: Api<Namespace> = Api::all(ground.client.clone());
    let name = namespace(project);
    let object = serde_json::from_value(json!({"metadata": {"name": name, "finalizers": [HOLD]}}))?;
    api.create(&PostParams::default(), &object).await?;
    api.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

/// Lets the namespace go. The broker makes another.
///
/// # Errors
/// When the API server refuses.
pub async fn release_namespace(ground: &Ground<'_>, project: Uuid) -> Result<(), Failure> {
    let api: Api<Namespace> = Api::all(ground.client.clone());
    let without = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch(&namespace(project), &PatchParams::default(), &without).await?;
    Ok(())
}

/// Has no new pod start, by cordoning every node: enrolment Jobs wait. So would a part of the stack that restarts.
///
/// # Errors
/// When the API server refuses.
pub async fn no_pods(ground: &Ground<'_>) -> Result<(), Failure> {
    cordon(ground, true).await
}

/// Has pods start again.
///
/// # Errors
/// When the API server refuses.
pub async fn pods_again(ground: &Ground<'_>) -> Result<(), Failure> {
    cordon(ground, false).await
}

async fn cordon(ground: &Ground<'_>, cordoned: bool) -> Result<(), Failure> {
    let api: Api<Node> = Api::all(ground.client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
    for node in api.list(&ListParams::default()).await?.items {
        api.patch(&node.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// Has Crossplane leave a Composite Resource alone, or work on it again.
///
/// # Errors
/// When the API server refuses.
pub async fn crossplane_paused(
    ground: &Ground<'_>,
    resource: &Resource,
    paused: bool,
) -> Result<(), Failure> {
    let value = if paused { json!("true") } else { Value::Null };
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"crossplane.io/paused": value}}}));
    let api = ground.composites(resource.project_id);
    api.patch(&handle(resource), &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Keeps the control plane from taking Nodes out of the mesh, or lets it again.
///
/// # Errors
/// When it does not take it.
pub async fn drains(ground: &Ground<'_>, held: bool) -> Result<(), Failure> {
    ground.lab("drain", json!({"held": held})).await
}

/// Keeps a Composite Resource from going, or lets it go.
///
/// # Errors
/// When the API server refuses.
pub async fn composite(ground: &Ground<'_>, resource: &Resource, held: bool) -> Result<(), Failure> {
    let api = ground.composites(resource.project_id);
    let name = handle(resource);
    // Others change their finalizers meanwhile: the version makes sure that none is lost.
    let changed = eventually("the Composite Resource's finalizer to be changed", WITHIN, || async {
        let object = match api.get(&name).await {
            Ok(object) => object,
            Err(error) => return Check::NotYet(error.to_string()),
        };
        let mut finalizers = object.metadata.finalizers.unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != HOLD);
        if held {
            finalizers.push(HOLD.to_owned());
        }
        let metadata: Value =
            json!({"finalizers": finalizers, "resourceVersion": object.metadata.resource_version});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(_) => Check::Done(()),
            Err(error) => Check::NotYet(error.to_string()),
        }
    });
    Ok(changed.await?)
}
