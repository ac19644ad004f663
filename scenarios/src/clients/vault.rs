//! The customer's secret store: Vault's KV version 2 over HTTP, as `vault kv put` uses it.

use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// The store did not take the request.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No answer.
    #[error("reach the secret store: {0}")]
    Transport(#[from] reqwest::Error),
    /// A refusal.
    #[error("{method} {path} at the secret store: status {status}: {body}")]
    Refused {
        /// HTTP method.
        method: &'static str,
        /// Path.
        path: String,
        /// Status.
        status: u16,
        /// Body, as Vault words its errors.
        body: String,
    },
}

/// A client with a token.
#[derive(Debug, Clone)]
pub struct Vault {
    http: reqwest::Client,
    base: String,
    token: SecretString,
}

impl Vault {
    /// A client of the store at `base`.
    pub fn new(http: reqwest::Client, base: &str, token: SecretString) -> Self {
        Self { http, base: base.to_owned(), token }
    }

    /// Writes a new version of the entry `path` below the mount `secret`, with one field `token`.
    ///
    /// # Errors
    /// When the store does not answer or refuses.
    pub async fn put_token(&self, path: &str, token: &SecretString) -> Result<(), VaultError> {
        let path = format!("/v1/secret/data/{path}");
        let body = json!({"data": {"token": token.expose_secret()}});
        self.send("PUT", path, |request| request.json(&body)).await
    }

    /// Writes to any path below `/v1/`, as `vault write` does.
    ///
    /// # Errors
    /// When the store does not answer or refuses.
    pub async fn write(&self, path: &str, body: &Value) -> Result<(), VaultError> {
        self.send("PUT", format!("/v1/{path}"), |request| request.json(body)).await
    }

    /// Removes the entry `path` below the mount `secret` with all its versions, as `vault kv metadata delete` does.
    ///
    /// # Errors
    /// When the store does not answer or refuses.
    pub async fn delete(&self, path: &str) -> Result<(), VaultError> {
        self.send("DELETE", format!("/v1/secret/metadata/{path}"), |request| request).await
    }

    async fn send(
        &self,
        method: &'static str,
        path: String,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<(), VaultError> {
        let verb = if method == "PUT" { Method::PUT } else { Method::DELETE };
        let request = self.http.request(verb, format!("{}{path}", self.base));
        let request =
            request.header("X-Vault-Token", self.token.expose_secret()).header("X-Vault-Request", "true");
        let answer = complete(request).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = answer.text().await.unwrap_or_default();
        Err(VaultError::Refused { method, path, status: status.as_u16(), body })
    }
}
