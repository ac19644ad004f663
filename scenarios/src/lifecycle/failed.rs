//! Substrates that cannot be: the Resource is Failed with a reason, stays so, and can be deleted.
//!
//! | from | why |
//! |---|---|
//! | Pending | the cluster refuses the Composite Resource: its definition asks for more than the blueprint's parameters |
//! | Provisioning | the cluster refuses what the Composition makes |
//! | Enrolling | the token expires before anybody redeems it |

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ground::{Ground, WITHIN};
use super::hold;
use super::witness::Witness;
use crate::clients::cluster::Cluster;
use crate::clients::plexsphere::publishing::NewVersion;
use crate::clients::plexsphere::resources::Ingredients;

/// Longer than a bootstrap token of the broker lives, shorter than anybody's session.
const PAST_THE_TOKEN: u32 = 2 * 3600;

/// Runs the scenario.
///
/// # Errors
/// When a Resource does not fail as it should.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let ground = Ground::prepare(run).await?;
    let refused = publish(&ground, "refused-node", "XRefusedNode", "xrefusednodes", true).await?;
    fails(&ground, refused, &["Pending"], "refuses the Composite Resource").await?;
    let broken = publish(&ground, "broken-node", "XBrokenNode", "xbrokennodes", false).await?;
    fails(&ground, broken, &["Pending", "Provisioning"], "Unsynced resources: machine").await?;
    hold::no_pods(&ground).await?;
    fails(&ground, ground.from, &["Pending", "Provisioning", "Enrolling"], "expired").await?;
    hold::pods_again(&ground).await
}

/// The definition and the Composition of a blueprint that cannot work.
fn manifests(kind: &str, plural: &str, is_demanding: bool) -> (Value, Value) {
    let mut parameters = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    if is_demanding {
        parameters["properties"] = json!({"region": {"type": "string"}});
        parameters["required"] = json!(["region"]);
    }
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let xrd = json!({
        "apiVersion": "apiextensions.crossplane.io/v2",
        "kind": "CompositeResourceDefinition",
        "metadata": {"name": format!("{plural}.blueprints.plexsphere.com")},
        "spec": {
            "scope": "Namespaced",
            "group": "blueprints.plexsphere.com",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1alpha1", "served": true, "referenceable": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"parameters": parameters, "cloudTags": open}}}}}}],
        },
    });
    // No Object has this policy: the API server says so.
    let machine = json!({"apiVersion": "kubernetes.m.crossplane.io/v1alpha1", "kind": "Object", "spec": {
        "readiness": {"policy": "Whenever"},
        "providerConfigRef": {"kind": "ClusterProviderConfig", "name": "plexsphere-incluster"},
        "forProvider": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default"}}}}});
    let composition = json!({
        "apiVersion": "apiextensions.crossplane.io/v1",
        "kind": "Composition",
        "metadata": {"name": plural},
        "spec": {
            "compositeTypeRef": {"apiVersion": "blueprints.plexsphere.com/v1alpha1", "kind": kind},
            "mode": "Pipeline",
            "pipeline": [{"step": "render", "functionRef": {"name": "function-patch-and-transform"},
                "input": {"apiVersion": "pt.fn.crossplane.io/v1beta1", "kind": "Resources",
                    "resources": [{"name": "machine", "base": machine}]}}],
        },
    });
    (xrd, composition)
}

/// The operator registers a blueprint, publishes a version of it, and installs it in the cluster.
async fn publish(
    ground: &Ground<'_>,
    slug: &str,
    kind: &str,
    plural: &str,
    is_demanding: bool,
) -> Result<Ingredients, Failure> {
    let (xrd, composition) = manifests(kind, plural, is_demanding);
    let cluster = Cluster::new(ground.client.clone());
    let objects = [xrd.clone(), composition.clone()];
    let install = cluster.apply(&objects);
    ground.operator.step(&format!("install the definition of {kind} in the cluster"), install).await?;
    let publish = async {
        let blueprint = ground.as_operator.register_blueprint(slug).await?;
        let new = NewVersion { version: "v1alpha1", xrd: &xrd, composition: &composition };
        // The registrar's right to publish comes a moment later.
        let published = eventually("the version to be published", WITHIN, || async {
            match ground.as_operator.publish_version(blueprint, &new).await {
                Ok(()) => Check::Done(Ok(())),
                Err(error) if error.is_permission_denied() => Check::NotYet(error.to_string()),
                Err(error) => Check::Done(Err(error)),
            }
        });
        published.await??;
        let version = ground.history.blueprint_version(blueprint).await?;
        let blueprint_version = version.unwrap_or(Uuid::nil());
        Ok(Ingredients { blueprint_version, ..ground.from })
    };
    ground.operator.step(&format!("register and publish the blueprint {slug}"), publish).await
}

/// Declares a Resource, sees it fail after these phases with this reason, stay so, and go.
async fn fails(ground: &Ground<'_>, from: Ingredients, before: &[&str], why: &str) -> Result<(), Failure> {
    let (owner, operator, project) = (ground.owner, ground.operator, ground.project);
    let name = |what: &str| format!("{what} ({})", before.join(", "));
    let declare = ground.provision_from(project, from);
    let resource = owner.step(&name("declare a Resource that cannot be"), declare).await?;
    let witness = Witness::of(ground, resource.id);
    if before.last() == Some(&"Enrolling") {
        owner.step(&name("see it Enrolling"), witness.until(ground, "Enrolling")).await?;
        let advance = ground.lab("clock", json!({"advance_seconds": PAST_THE_TOKEN}));
        operator.step(&name("let two hours pass"), advance).await?;
    }
    owner.step(&name("see it Failed"), witness.until(ground, "Failed")).await?;
    let reason = async {
        let reason = ground.history.failure_reason(resource.id).await?.unwrap_or_default();
        let live = ground.history.live_tokens(resource.id).await?;
        if reason.contains(why) && live == 0 {
            return Ok(());
        }
        Err(Failure::expected(format!("{why:?} and no live token"), format!("{reason:?}, {live} tokens")))
    };
    operator.step(&name("read why, and find its token revoked"), reason).await?;
    let end = async {
        ground.delete(resource.id).await?;
        ground.delete(resource.id).await?;
        witness.until(ground, "Deleted").await
    };
    owner.step(&name("delete it"), end).await?;
    let (rows, seen) = witness.account(ground).await?;
    let whole = [before, &["Failed", "Deregistering", "Deprovisioning", "Deleted"]].concat();
    if rows != whole || !seen.iter().any(|phase| phase == "Failed") {
        return Err(Failure::expected(format!("{whole:?}"), format!("{rows:?}, by the API {seen:?}")));
    }
    owner.step(&name("find nothing left of it"), ground.until_nothing_remains(project)).await
}
