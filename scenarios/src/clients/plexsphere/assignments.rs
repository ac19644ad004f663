//! Credential assignments: requested by one party, decided by another, by their own endpoints or by the approvals
//! queue (contract: control plane, 4.3 to 4.5).

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::client::Page;
use super::{Plexsphere, PlexsphereError};

/// A credential assignment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Assignment {
    /// Its id.
    pub id: Uuid,
    /// The Project that is to use the credential.
    pub project_id: Uuid,
    /// The credential.
    pub cloud_credential_id: Uuid,
    /// `requested`, `approved`, `rejected` or `revoked`.
    pub state: String,
    /// Whether the Project may use the credential.
    pub materialised: bool,
}

/// An entry of the approvals queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Approval {
    /// That of the assignment, when it is one.
    pub id: Uuid,
    /// `credential_assignment`, `cloud_assignment` or `approval`.
    pub kind: String,
    /// `pending-approval`, `approved`, `rejected`, …
    pub state: String,
    /// Whether an assignment is in force.
    #[serde(default)]
    pub materialised: bool,
    /// Why it was decided so.
    pub decision_reason: Option<String>,
}

impl Plexsphere {
    /// Asks that a Project may use a credential.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn request_assignment(
        &self,
        project: Uuid,
        credential: Uuid,
    ) -> Result<Assignment, PlexsphereError> {
        let path = format!("/v1/projects/{project}/credential-assignments");
        self.call(Method::POST, &path, Some(json!({"cloud_credential_id": credential}))).await
    }

    /// A Project's credential assignments.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn assignments(&self, project: Uuid) -> Result<Vec<Assignment>, PlexsphereError> {
        let path = format!("/v1/projects/{project}/credential-assignments");
        let page: Page<Assignment> = self.call(Method::GET, &path, None).await?;
        Ok(page.items)
    }

    /// Approves a request.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn approve_assignment(&self, id: Uuid) -> Result<Assignment, PlexsphereError> {
        self.call(Method::POST, &format!("/v1/credential-assignments/{id}/approve"), None).await
    }

    /// Rejects a request.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn reject_assignment(&self, id: Uuid, reason: &str) -> Result<Assignment, PlexsphereError> {
        let path = format!("/v1/credential-assignments/{id}/reject");
        self.call(Method::POST, &path, Some(json!({"reason": reason}))).await
    }

    /// Revokes an assignment that is in force.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn revoke_assignment(&self, id: Uuid, reason: &str) -> Result<Assignment, PlexsphereError> {
        let path = format!("/v1/credential-assignments/{id}/revoke");
        self.call(Method::POST, &path, Some(json!({"reason": reason}))).await
    }

    /// What waits for a decision and the caller may see.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn pending_approvals(&self) -> Result<Vec<Approval>, PlexsphereError> {
        let page: Page<Approval> =
            self.call(Method::GET, "/v1/approvals?status=pending-approval&limit=200", None).await?;
        Ok(page.items)
    }

    /// An entry of the queue.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn approval(&self, id: Uuid) -> Result<Approval, PlexsphereError> {
        self.call(Method::GET, &format!("/v1/approvals/{id}"), None).await
    }

    /// Approves an entry of the queue.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn approve(&self, id: Uuid) -> Result<Approval, PlexsphereError> {
        self.call(Method::POST, &format!("/v1/approvals/{id}/approve"), None).await
    }

    /// Rejects an entry of the queue.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn reject(&self, id: Uuid, reason: &str) -> Result<Approval, PlexsphereError> {
        self.call(Method::POST, &format!("/v1/approvals/{id}/reject"), Some(json!({"reason": reason}))).await
    }
}
