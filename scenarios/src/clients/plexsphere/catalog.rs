//! What the platform operator keeps: Clouds, their credentials, blueprints.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::client::Page;
use super::{Plexsphere, PlexsphereError};

/// A Cloud.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cloud {
    /// Its id.
    pub id: Uuid,
    /// Its slug.
    pub slug: String,
    /// Its name.
    pub display_name: String,
    /// `aws` or `azure`.
    pub provider: String,
}

/// A Cloud's credential.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CloudCredential {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub display_name: String,
    /// `active`, `expired` or `revoked`.
    pub status: String,
}

/// A blueprint with its versions.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Blueprint {
    /// Its id.
    pub id: Uuid,
    /// Its slug.
    pub slug: String,
    /// Its versions; a list of blueprints leaves them out.
    #[serde(default)]
    pub versions: Vec<BlueprintVersion>,
}

/// A version of a blueprint.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BlueprintVersion {
    /// Its id. Control planes before the end of June 2026 do not serve it.
    pub id: Option<Uuid>,
    /// For example `v1alpha1`.
    pub version: String,
    /// What it takes.
    pub parameter_schema: Value,
}

impl Plexsphere {
    /// Reads a Cloud.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn cloud(&self, id: Uuid) -> Result<Cloud, PlexsphereError> {
        self.call(Method::GET, &format!("/v1/clouds/{id}"), None).await
    }

    /// A Cloud's credentials.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn cloud_credentials(&self, cloud: Uuid) -> Result<Vec<CloudCredential>, PlexsphereError> {
        let path = format!("/v1/clouds/{cloud}/cloud-credentials");
        let page: Page<CloudCredential> = self.call(Method::GET, &path, None).await?;
        Ok(page.items)
    }

    /// Reads a blueprint.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn blueprint(&self, id: Uuid) -> Result<Blueprint, PlexsphereError> {
        self.call(Method::GET, &format!("/v1/blueprints/{id}"), None).await
    }
}
