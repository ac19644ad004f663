//! Machines, their tokens, and relations on a Project.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Created;
use super::{Plexsphere, PlexsphereError};

impl Plexsphere {
    /// Creates a machine in a Domain that the caller manages, and returns its id.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn create_machine(&self, domain: Uuid, name: &str) -> Result<Uuid, PlexsphereError> {
        let body = json!({
            "display_name": name,
            "subject": name,
            "audience": "plexsphere",
            "federation_kind": "api_token",
        });
        let path = format!("/v1/domains/{domain}/service-identities");
        let created: Created = self.call(Method::POST, &path, Some(body)).await?;
        Ok(created.id)
    }

    /// Issues an API token to a machine that the caller manages, and returns a client with it.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn as_machine(&self, machine: Uuid) -> Result<Self, PlexsphereError> {
        #[derive(Deserialize)]
        struct Issued {
            plaintext: String,
        }
        let body = json!({
            "identity_ref": format!("service:{machine}"),
            "env_prefix": "dev",
            "ttl_seconds": 3600,
        });
        let issued: Issued = self.call(Method::POST, "/v1/auth/tokens", Some(body)).await?;
        Ok(self.with_token(issued.plaintext.into()))
    }

    /// Gives a subject (`user:<uuid>`) a relation on a Project that the caller manages; it takes effect a moment
    /// later.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn give_relation(
        &self,
        project: Uuid,
        subject: &str,
        relation: &str,
    ) -> Result<(), PlexsphereError> {
        let body =
            json!({"subject": subject, "relation": relation, "resource": format!("project:{project}")});
        let path = format!("/v1/authz/relation-tuples?project_id={project}");
        self.call::<Value>(Method::POST, &path, Some(body)).await.map(drop)
    }
}
