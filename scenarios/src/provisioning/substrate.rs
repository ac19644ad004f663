//! What provisioning leaves in the management cluster: a Project's namespace, and in it Composite Resources with what
//! their Composition renders (contract: control plane, 5.3 and 9.4).

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use plexlab_harness::run::Failure;
use serde_json::Value;
use uuid::Uuid;

/// A Composite Resource of the cloudless blueprint at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composite {
    /// Not there.
    Absent,
    /// There.
    Present {
        /// Its deletion has begun.
        deleting: bool,
    },
}

/// One Project's part of the management cluster.
#[derive(Clone)]
pub struct Substrate {
    client: Client,
    project: Uuid,
}

impl std::fmt::Debug for Substrate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Substrate").field("project", &self.project).finish_non_exhaustive()
    }
}

impl Substrate {
    /// Of this Project.
    pub fn new(client: Client, project: Uuid) -> Self {
        Self { client, project }
    }

    /// The Project's namespace.
    pub fn namespace(&self) -> String {
        format!("plexsphere-project-{}", self.project)
    }

    fn dynamic(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(group, version, kind);
        Api::namespaced_with(self.client.clone(), &self.namespace(), &ApiResource::from_gvk(&kind))
    }

    fn composites(&self) -> Api<DynamicObject> {
        self.dynamic("blueprints.plexsphere.com", "v1alpha1", "XKubernetesCloudlessNode")
    }

    /// The Composite Resource of a Resource, known by its tags; none when it is not there.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn composite(&self, resource: Uuid) -> Result<Option<DynamicObject>, Failure> {
        let resource = resource.to_string();
        let all = self.composites().list(&ListParams::default()).await?;
        Ok(all.items.into_iter().find(|object| {
            let tags = object.data.pointer("/spec/cloudTags").and_then(Value::as_object);
            tags.is_some_and(|tags| tags.values().any(|value| value.as_str() == Some(resource.as_str())))
        }))
    }

    /// Whether the Composite Resource of a Resource is there.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn look(&self, resource: Uuid) -> Result<Composite, Failure> {
        Ok(match self.composite(resource).await? {
            None => Composite::Absent,
            Some(object) => Composite::Present { deleting: object.metadata.deletion_timestamp.is_some() },
        })
    }

    /// What a Project's namespace lacks of what belongs into it, in words; empty when it is complete.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn lacks(&self) -> Result<Vec<&'static str>, Failure> {
        let name = self.namespace();
        let (client, all) = (|| self.client.clone(), ListParams::default());
        let mut lacking = Vec::new();
        match Api::<Namespace>::all(client()).get_opt(&name).await? {
            Some(namespace) if namespace.metadata.deletion_timestamp.is_none() => {}
            Some(_) => lacking.push("a namespace that stays"),
            None => lacking.push("a namespace"),
        }
        if Api::<ResourceQuota>::namespaced(client(), &name).list(&all).await?.items.is_empty() {
            lacking.push("a ResourceQuota");
        }
        if Api::<Role>::namespaced(client(), &name).list(&all).await?.items.is_empty() {
            lacking.push("a Role");
        }
        if Api::<RoleBinding>::namespaced(client(), &name).list(&all).await?.items.is_empty() {
            lacking.push("a RoleBinding");
        }
        Ok(lacking)
    }

    /// The objects in the Project's namespace that belong to Resources, as `Kind/name`: Composite Resources and
    /// provider configurations, the Objects, ConfigMaps and Jobs that the Composition renders.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn objects(&self) -> Result<Vec<String>, Failure> {
        let (name, all) = (self.namespace(), ListParams::default());
        let group = "kubernetes.m.crossplane.io";
        let mut found = Vec::new();
        let mut add = |kind: &str, names: Vec<String>| {
            found.extend(names.into_iter().map(|name| format!("{kind}/{name}")));
        };
        let named = |objects: Vec<DynamicObject>| objects.iter().map(|object| object.name_any()).collect();
        add("XKubernetesCloudlessNode", named(self.composites().list(&all).await?.items));
        for kind in ["ProviderConfig", "Object"] {
            add(kind, named(self.dynamic(group, "v1alpha1", kind).list(&all).await?.items));
        }
        let config_maps = Api::<ConfigMap>::namespaced(self.client.clone(), &name).list(&all).await?;
        // Every namespace has one of its own.
        let own = config_maps.items.iter().filter(|map| map.name_any() != "kube-root-ca.crt");
        add("ConfigMap", own.map(|map| map.name_any()).collect());
        let jobs = Api::<Job>::namespaced(self.client.clone(), &name).list(&all).await?;
        add("Job", jobs.items.iter().map(|job| job.name_any()).collect());
        Ok(found)
    }
}
