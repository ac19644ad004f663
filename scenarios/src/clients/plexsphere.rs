//! The control plane's HTTP API (contract: the published OpenAPI document), as a project owner uses it.

use jiff::Timestamp;
use plexlab_harness::redact::Redactor;
use plexlab_lab::{Check, TimedOut, eventually};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cluster::SOON;

/// A request that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum PlexsphereError {
    /// No answer, or not one that can be read.
    #[error("{method} {path}: {source}")]
    Transport {
        /// HTTP method.
        method: Method,
        /// Path.
        path: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The rights to a new Project did not arrive.
    #[error(transparent)]
    NoRights(#[from] TimedOut),
    /// A problem document, or another refusal.
    #[error("{method} {path}: {status} {code}: {detail}")]
    Problem {
        /// HTTP method.
        method: Method,
        /// Path.
        path: String,
        /// Status of the answer.
        status: StatusCode,
        /// The problem's code; empty when there is none.
        code: String,
        /// The problem's detail, or the body.
        detail: String,
    },
}

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

/// A client with somebody's token. Tokens that it receives are registered for redaction.
#[derive(Debug, Clone)]
pub struct Plexsphere {
    http: reqwest::Client,
    base: String,
    token: SecretString,
    redactor: Redactor,
}

impl Plexsphere {
    /// A client of the control plane at `base`.
    pub fn new(http: reqwest::Client, base: &str, token: SecretString, redactor: Redactor) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned(), token, redactor }
    }

    /// Creates a Project in the Domain with this slug and returns its id.
    ///
    /// # Errors
    /// When the Domain is unknown or the request is refused.
    pub async fn create_project(&self, domain_slug: &str, name: &str) -> Result<Uuid, PlexsphereError> {
        let domains: Page = self.call(Method::GET, "/v1/domains", None).await?;
        let domain = domains.items.iter().find(|domain| domain["slug"] == domain_slug);
        let body = json!({
            "domain_id": domain.map_or(Value::Null, |domain| domain["id"].clone()),
            "name": name,
            "slug": name,
        });
        let created: Created = self.call(Method::POST, "/v1/projects", Some(body)).await?;
        self.rights_to(created.id).await?;
        Ok(created.id)
    }

    /// Waits until the creator's rights to a new Project have arrived: they come a moment after it.
    async fn rights_to(&self, project: Uuid) -> Result<(), PlexsphereError> {
        let path = format!("/v1/projects/{project}");
        let arrived = eventually("the creator's rights to the new Project", SOON, || async {
            match self.call::<Created>(Method::GET, &path, None).await {
                Ok(_) => Check::Done(Ok(())),
                Err(error @ PlexsphereError::Problem { status: StatusCode::FORBIDDEN, .. }) => {
                    Check::NotYet(error.to_string())
                }
                Err(error) => Check::Done(Err(error)),
            }
        });
        arrived.await?
    }

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
        self.redactor.register(&issued.token);
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

    /// Revokes a bootstrap token.
    ///
    /// # Errors
    /// When the request is refused, for example because the token is consumed.
    pub async fn revoke_token(&self, project: Uuid, id: Uuid) -> Result<(), PlexsphereError> {
        let path = format!("/v1/projects/{project}/bootstrap-tokens/{id}");
        self.send(Method::DELETE, &path, None).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, PlexsphereError> {
        let answer = self.send(method.clone(), path, body).await?;
        answer.json().await.map_err(|source| PlexsphereError::Transport { method, path: path.into(), source })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<reqwest::Response, PlexsphereError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method.clone(), url).bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let transport =
            |source| PlexsphereError::Transport { method: method.clone(), path: path.into(), source };
        let answer = request.send().await.map_err(transport)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name: &str| problem[name].as_str().map(str::to_owned);
        Err(PlexsphereError::Problem {
            method: method.clone(),
            path: path.into(),
            status,
            code: field("code").unwrap_or_default(),
            detail: field("detail").unwrap_or(text),
        })
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
}

#[derive(Deserialize)]
struct Created {
    id: Uuid,
}
