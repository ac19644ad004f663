//! The customer at Azure Key Vault, as Azure's libraries ask it: a token of Entra ID by a client secret, then REST. The
//! real hosts are named; the stack's proxy leads to their stand-in.

use plexlab_harness::clouds::secrets::AZURE_WRITER;
use plexlab_harness::clouds::{AZURE_TENANT, AZURE_VAULT};
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::rest::{RestError, checked, through};

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
    pub fn new(proxy: &str, authority: &[u8], secret: SecretString) -> Result<Self, RestError> {
        Ok(Self { http: through(proxy, authority)?, secret, vault: AZURE_VAULT.to_owned() })
    }

    /// The same at another vault.
    #[must_use]
    pub fn in_vault(&self, vault: &str) -> Self {
        Self { vault: vault.to_owned(), ..self.clone() }
    }

    /// Sets a secret to a text.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn put(&self, name: &str, value: &str) -> Result<(), RestError> {
        self.call(Method::PUT, &format!("/secrets/{name}"), Some(json!({"value": value}))).await
    }

    /// Sets the secret.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn put_token(&self, name: &str, token: &SecretString) -> Result<(), RestError> {
        let value = json!({"token": token.expose_secret()}).to_string();
        self.put(name, &value).await
    }

    /// Deletes the secret, and then for good.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn delete(&self, name: &str) -> Result<(), RestError> {
        self.call(Method::DELETE, &format!("/secrets/{name}"), None).await?;
        self.call(Method::DELETE, &format!("/deletedsecrets/{name}"), None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<(), RestError> {
        let url = format!("https://{}.vault.azure.net{path}?api-version=7.4", self.vault);
        let token = self.access_token().await?;
        let mut request = self.http.request(method.clone(), url).bearer_auth(token.expose_secret());
        if let Some(body) = body {
            request = request.json(&body);
        }
        checked(request.send().await?, &method, path).await.map(drop)
    }

    async fn access_token(&self) -> Result<SecretString, RestError> {
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
        let answer: Value = checked(request.send().await?, &Method::POST, &path).await?.json().await?;
        let token = answer["access_token"].as_str().ok_or(RestError::NoToken("Entra ID"))?;
        Ok(SecretString::from(token))
    }
}
