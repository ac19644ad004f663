//! Domains and Projects.

use plexlab_lab::{Check, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Created, Page};
use super::{Plexsphere, PlexsphereError};
use crate::clients::cluster::SOON;

impl Plexsphere {
    /// The id of the Domain with this slug; none when the caller sees no such Domain.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn domain(&self, slug: &str) -> Result<Option<Uuid>, PlexsphereError> {
        let domains: Page<Value> = self.call(Method::GET, "/v1/domains", None).await?;
        let found = domains.items.iter().find(|domain| domain["slug"] == slug);
        Ok(found.and_then(|domain| domain["id"].as_str()?.parse().ok()))
    }

    /// Creates a Domain, which the caller then manages, and returns its id.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn create_domain(&self, slug: &str, mesh_cidr: &str) -> Result<Uuid, PlexsphereError> {
        let body = json!({"name": slug, "slug": slug, "mesh_cidr": mesh_cidr});
        let created: Created = self.call(Method::POST, "/v1/domains", Some(body)).await?;
        Ok(created.id)
    }

    /// Creates a Project in the Domain with this slug, waits for the creator's rights to it, which come a moment
    /// later, and returns its id.
    ///
    /// # Errors
    /// When the Domain is unknown or the request is refused.
    pub async fn create_project(&self, domain_slug: &str, name: &str) -> Result<Uuid, PlexsphereError> {
        let project = self.create_project_at_once(domain_slug, name).await?;
        self.rights_to(project).await?;
        Ok(project)
    }

    /// As [`Plexsphere::create_project`], but does not wait for the rights.
    ///
    /// # Errors
    /// When the Domain is unknown or the request is refused.
    pub async fn create_project_at_once(
        &self,
        domain_slug: &str,
        name: &str,
    ) -> Result<Uuid, PlexsphereError> {
        let domain = self.domain(domain_slug).await?;
        let body = json!({"domain_id": domain, "name": name, "slug": name});
        let created: Created = self.call(Method::POST, "/v1/projects", Some(body)).await?;
        Ok(created.id)
    }

    /// Reads a Project.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn project(&self, id: Uuid) -> Result<Value, PlexsphereError> {
        self.call(Method::GET, &format!("/v1/projects/{id}"), None).await
    }

    /// Removes a Project that has no Resources and Nodes any more.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn delete_project(&self, id: Uuid) -> Result<(), PlexsphereError> {
        self.send(Method::DELETE, &format!("/v1/projects/{id}"), None).await.map(drop)
    }

    /// Waits until the creator's rights to a new Project have arrived.
    ///
    /// # Errors
    /// When they do not in time, or the request is refused for another reason.
    pub async fn rights_to(&self, project: Uuid) -> Result<(), PlexsphereError> {
        let arrived = eventually("the creator's rights to the new Project", SOON, || async {
            match self.project(project).await {
                Ok(_) => Check::Done(Ok(())),
                Err(error) if error.is_permission_denied() => Check::NotYet(error.to_string()),
                Err(error) => Check::Done(Err(error)),
            }
        });
        arrived.await?
    }
}
