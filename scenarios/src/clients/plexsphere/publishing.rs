//! Blueprints, as their registrar publishes them.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Created;
use super::{Plexsphere, PlexsphereError};

/// A version to be published, without parameters, for any provider of the seeds, its token among the Helm values.
#[derive(Debug, Clone, Copy)]
pub struct NewVersion<'v> {
    /// For example `v1alpha1`.
    pub version: &'v str,
    /// The CompositeResourceDefinition.
    pub xrd: &'v Value,
    /// The Composition.
    pub composition: &'v Value,
}

impl Plexsphere {
    /// Registers a blueprint of the platform and returns its id.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn register_blueprint(&self, slug: &str) -> Result<Uuid, PlexsphereError> {
        let body = json!({"slug": slug, "display_name": slug, "description": ""});
        let created: Created = self.call(Method::POST, "/v1/blueprints", Some(body)).await?;
        Ok(created.id)
    }

    /// Publishes a version.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn publish_version(
        &self,
        blueprint: Uuid,
        new: &NewVersion<'_>,
    ) -> Result<(), PlexsphereError> {
        let body = json!({
            "version": new.version,
            "xrd": new.xrd,
            "composition": new.composition,
            "parameter_schema": {"parameters": []},
            "provider_kinds": ["aws"],
            "injection_strategy": "helm-values",
        });
        self.send(Method::POST, &format!("/v1/blueprints/{blueprint}/versions"), Some(body)).await.map(drop)
    }
}
