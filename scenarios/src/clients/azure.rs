//! The customer at Azure Key Vault, as Azure's libraries ask it: a token of Entra ID by a client secret, then REST. The
//! real hosts are named; the stack's proxy leads to their stand-in.

use std::time::Duration;

use plexlab_harness::clouds::secrets::AZURE_WRITER;
use plexlab_harness::clouds::{AZURE_TENANT, AZURE_VAULT};
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// The store did not take the request.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    /// No answer.
    #[error("reach Azure: {0}")]
    Transport(#[from] reqwest::Error),
    /// A refusal.
    #[error("{method} {path} at Azure: status {status}: {body}")]
    Refused {
        /// HTTP method.
        method: Method,
        /// Path.
        path: String,
        /// Status.
        status: u16,
        /// Body, as Azure words its errors.
        body: String,
    },
    /// An answer without a token.
    #[error("Entra ID answers without a token")]
    NoToken,
}

/// A client with a client secret.
#[derive(Debug, Clone)]
pub struct Azure {
    http: reqwest::Client,
    secret: SecretString,
    vault: String,
}

impl Azure {
    /// A client that goes through a proxy and trusts this authority (PEM) only.
    ///
    /// # Errors
    /// When the authority is none.
    pub fn new(proxy: &str, authority: &[u8], secret: SecretString) -> Result<Self, AzureError> {
        let http = reqwest::Client::builder()
            .proxy(reqwest::Proxy::all(proxy)?)
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(authority)?)
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { http, secret, vault: AZURE_VAULT.to_owned() })
    }

    /// The same at another vault.
    #[must_use]
    pub fn in_vault(&self, vault: &str) -> Self {
        Self { vault: vault.to_owned(), ..self.clone() }
    }

    /// Sets a secret to a text.
    ///
    /// # Errors
    /// [`AzureError`].
    pub async fn put(&self, name: &str, value: &str) -> Result<(), AzureError> {
        self.call(Method::PUT, &format!("/secrets/{name}"), Some(json!({"value": value}))).await
    }

    /// Sets the secret.
    ///
    /// # Errors
    /// [`AzureError`].
    pub async fn put_token(&self, name: &str, token: &SecretString) -> Result<(), AzureError> {
        let value = json!({"token": token.expose_secret()}).to_string();
        self.put(name, &value).await
    }

    /// Deletes the secret, and then for good.
    ///
    /// # Errors
    /// [`AzureError`].
    pub async fn delete(&self, name: &str) -> Result<(), AzureError> {
        self.call(Method::DELETE, &format!("/secrets/{name}"), None).await?;
        self.call(Method::DELETE, &format!("/deletedsecrets/{name}"), None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<(), AzureError> {
        let url = format!("https://{}.vault.azure.net{path}?api-version=7.4", self.vault);
        let token = self.access_token().await?;
        let mut request = self.http.request(method.clone(), url).bearer_auth(token.expose_secret());
        if let Some(body) = body {
            request = request.json(&body);
        }
        checked(request.send().await?, method, path).await.map(drop)
    }

    async fn access_token(&self) -> Result<SecretString, AzureError> {
        let path = format!("/{AZURE_TENANT}/oauth2/v2.0/token");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", AZURE_WRITER),
            ("client_secret", self.secret.expose_secret()),
            ("scope", "https://vault.azure.net/.default"),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(format!("https://login.microsoftonline.com{path}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer: Value = checked(request.send().await?, Method::POST, &path).await?.json().await?;
        let token = answer["access_token"].as_str().ok_or(AzureError::NoToken)?;
        Ok(SecretString::from(token))
    }
}

async fn checked(
    answer: reqwest::Response,
    method: Method,
    path: &str,
) -> Result<reqwest::Response, AzureError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.text().await.unwrap_or_default();
    Err(AzureError::Refused { method, path: path.to_owned(), status: status.as_u16(), body })
}
