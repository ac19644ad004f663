//! Resources, and where a Project's are made.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Located, Page};
use super::{Plexsphere, PlexsphereError};

/// A Resource.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resource {
    /// Its id.
    pub id: Uuid,
    /// Its Project.
    pub project_id: Uuid,
    /// Its kind, as its creator called it.
    pub kind: String,
    /// `adopted` or `provisioned`; some documents spell it with a capital.
    pub origin: String,
    /// Its handle, if any.
    pub external_ref: Option<String>,
    /// Only of a provisioned one.
    pub provisioning: Option<Provisioning>,
}

/// How far a provisioned Resource is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Provisioning {
    /// For example `Pending`.
    pub phase: String,
    /// What its objects in the management cluster are named and labelled after.
    pub provisioned_resource_id: Uuid,
}

/// What a provisioned Resource is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingredients {
    /// A version of a blueprint.
    pub blueprint_version: Uuid,
    /// A credential that the Project may use.
    pub cloud_credential: Uuid,
}

/// A Project's place in a management cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// `plexsphere-project-<project>`.
    pub namespace_name: String,
    /// For example `Ready`.
    pub namespace_phase: String,
}

impl Plexsphere {
    /// Declares a provisioned Resource without parameters.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn create_resource(
        &self,
        project: Uuid,
        from: Ingredients,
    ) -> Result<Located<Resource>, PlexsphereError> {
        let body = json!({
            "origin": "provisioned",
            "kind": "node",
            "blueprint_version_id": from.blueprint_version,
            "cloud_credential_id": from.cloud_credential,
            "parameters": {},
        });
        self.located(Method::POST, &format!("/v1/projects/{project}/resources"), Some(body)).await
    }

    /// Reads a Resource.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn resource(&self, id: Uuid) -> Result<Resource, PlexsphereError> {
        self.call(Method::GET, &format!("/v1/resources/{id}"), None).await
    }

    /// A Project's Resources.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn resources(&self, project: Uuid) -> Result<Vec<Resource>, PlexsphereError> {
        let path = format!("/v1/projects/{project}/resources?limit=200");
        let page: Page<Resource> = self.call(Method::GET, &path, None).await?;
        Ok(page.items)
    }

    /// Asks for a Resource's teardown; returns the status, 202 for a provisioned one.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn delete_resource(&self, id: Uuid) -> Result<u16, PlexsphereError> {
        let answer = self.send(Method::DELETE, &format!("/v1/resources/{id}"), None).await?;
        Ok(answer.status().as_u16())
    }

    /// A Project's place in a management cluster, for who observes the fleet.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn place(&self, project: Uuid) -> Result<Place, PlexsphereError> {
        self.call(Method::GET, &format!("/v1/projects/{project}/management-cluster-assignment"), None).await
    }

    /// The Nodes that the caller sees.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn nodes(&self) -> Result<Vec<Value>, PlexsphereError> {
        let page: Page<Value> = self.call(Method::GET, "/v1/nodes?limit=200", None).await?;
        Ok(page.items)
    }

    /// Whether a Node is heard of: `healthy`, `stale`, `unreachable` or `never_reported`.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn reachability(&self, node: Uuid) -> Result<String, PlexsphereError> {
        #[derive(Deserialize)]
        struct Reachability {
            state: String,
        }
        let path = format!("/v1/nodes/{node}/reachability");
        let answer: Reachability = self.call(Method::GET, &path, None).await?;
        Ok(answer.state)
    }
}
