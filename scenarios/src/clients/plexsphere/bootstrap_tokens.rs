//! Bootstrap tokens.

use jiff::Timestamp;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::client::Page;
use super::{Plexsphere, PlexsphereError};

/// A freshly issued bootstrap token; the only time that its plaintext is seen.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// Its id.
    pub id: Uuid,
    /// The plaintext.
    pub plaintext: SecretString,
}

/// What a bootstrap token's metadata says.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenMetadata {
    /// Its id.
    pub id: Uuid,
    /// When it was redeemed.
    pub consumed_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Plexsphere {
    /// Issues a bootstrap token that lives for an hour.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn issue_token(&self, project: Uuid, kind: &str) -> Result<IssuedToken, PlexsphereError> {
        #[derive(Deserialize)]
        struct Issued {
            token_id: Uuid,
            token: String,
        }
        let path = format!("/v1/projects/{project}/bootstrap-tokens");
        let body = json!({"kind": kind, "env_prefix": "prod", "ttl_seconds": 3600});
        let issued: Issued = self.call(Method::POST, &path, Some(body)).await?;
        self.redactor().register(&issued.token);
        Ok(IssuedToken { id: issued.token_id, plaintext: issued.token.into() })
    }

    /// Metadata of a bootstrap token.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn token(&self, project: Uuid, id: Uuid) -> Result<TokenMetadata, PlexsphereError> {
        let path = format!("/v1/projects/{project}/bootstrap-tokens/{id}");
        self.call(Method::GET, &path, None).await
    }

    /// Metadata of a Project's bootstrap tokens, those that the broker minted included.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn tokens(&self, project: Uuid) -> Result<Vec<TokenMetadata>, PlexsphereError> {
        let path = format!("/v1/projects/{project}/bootstrap-tokens?limit=200");
        let page: Page<TokenMetadata> = self.call(Method::GET, &path, None).await?;
        Ok(page.items)
    }

    /// Revokes a bootstrap token.
    ///
    /// # Errors
    /// When the request is refused, for example because the token is consumed.
    pub async fn revoke_token(&self, project: Uuid, id: Uuid) -> Result<(), PlexsphereError> {
        let path = format!("/v1/projects/{project}/bootstrap-tokens/{id}");
        self.send(Method::DELETE, &path, None).await.map(drop)
    }
}
