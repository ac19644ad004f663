//! The customer at Google's Secret Manager, as Google's libraries ask it: a token by a signed assertion, then REST. The
//! real hosts are named; the stack's proxy leads to their stand-in.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use plexlab_harness::clouds::GOOGLE_PROJECT;
use plexlab_harness::clouds::google::{ServiceAccount, TOKEN_URI};
use reqwest::{Method, StatusCode};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::rest::{RestError, checked, through};

/// A client with a key of a service account.
#[derive(Debug, Clone)]
pub struct Google {
    http: reqwest::Client,
    account: ServiceAccount,
}

impl Google {
    /// A client that goes through a proxy and trusts this authority (PEM) only.
    ///
    /// # Errors
    /// When the authority is none.
    pub fn new(proxy: &str, authority: &[u8], account: ServiceAccount) -> Result<Self, RestError> {
        Ok(Self { http: through(proxy, authority)?, account })
    }

    /// Makes the secret unless it is there, and adds a version.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn put_token(&self, name: &str, token: &SecretString) -> Result<(), RestError> {
        self.put(name, &json!({"token": token.expose_secret()}).to_string()).await
    }

    /// The same with any value.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn put(&self, name: &str, value: &str) -> Result<(), RestError> {
        let make = json!({"replication": {"automatic": {}}});
        match self.call(Method::POST, &format!("/secrets?secretId={name}"), Some(make)).await {
            Err(RestError::Refused { status, .. }) if status == StatusCode::CONFLICT.as_u16() => {}
            made => made?,
        }
        let version = json!({"payload": {"data": STANDARD.encode(value)}});
        self.call(Method::POST, &format!("/secrets/{name}:addVersion"), Some(version)).await
    }

    /// Deletes the secret, which is for good.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn delete(&self, name: &str) -> Result<(), RestError> {
        self.call(Method::DELETE, &format!("/secrets/{name}"), None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<(), RestError> {
        let url = format!("https://secretmanager.googleapis.com/v1/projects/{GOOGLE_PROJECT}{path}");
        let token = self.access_token().await?;
        let mut request = self.http.request(method.clone(), url).bearer_auth(token.expose_secret());
        if let Some(body) = body {
            request = request.json(&body);
        }
        checked(request.send().await?, &method, path).await.map(drop)
    }

    async fn access_token(&self) -> Result<SecretString, RestError> {
        let assertion = self.assertion().ok_or(RestError::Key)?;
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let request = self.http.post(TOKEN_URI).form(&[("grant_type", grant), ("assertion", &assertion)]);
        let answer = checked(request.send().await?, &Method::POST, "/token").await?;
        let answer: Value = answer.json().await?;
        let token = answer["access_token"].as_str().ok_or(RestError::NoToken("Google"))?;
        Ok(SecretString::from(token))
    }

    fn assertion(&self) -> Option<String> {
        let pem = self.account.private_key.expose_secret();
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(body).ok()?).ok()?;
        let now = jiff::Timestamp::now().as_second();
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": self.account.key_id});
        let claims = json!({
            "iss": self.account.email, "aud": TOKEN_URI, "iat": now, "exp": now + 3_600,
            "scope": "https://www.googleapis.com/auth/cloud-platform",
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&head), part(&claims));
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).ok()?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
