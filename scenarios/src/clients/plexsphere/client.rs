//! Requests with somebody's token, and what comes back.

use plexlab_harness::redact::Redactor;
use plexlab_lab::TimedOut;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

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
    /// The rights to something new did not arrive.
    #[error(transparent)]
    NoRights(#[from] TimedOut),
    /// A problem document, or another refusal.
    #[error("{0}")]
    Problem(Box<Problem>),
}

/// A problem document (contract: control plane, 1.1), with the request that met it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path}: {status} {code}: {detail}")]
pub struct Problem {
    /// HTTP method.
    pub method: Method,
    /// Path.
    pub path: String,
    /// Status of the answer.
    pub status: StatusCode,
    /// The problem's code; empty when there is none.
    pub code: String,
    /// Its title; empty when there is none.
    pub title: String,
    /// Its detail, or the body.
    pub detail: String,
    /// Why permission is denied; only a refusal by a missing relation has it.
    pub reason: Option<String>,
}

impl PlexsphereError {
    /// The problem document, if that is what came.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Transport { .. } | Self::NoRights(_) => None,
        }
    }

    /// Whether a relation is missing, which after a grant may be so for a moment (contract: control plane, 4.6).
    pub fn is_permission_denied(&self) -> bool {
        self.problem().is_some_and(|problem| {
            problem.status == StatusCode::FORBIDDEN && problem.code == "permission_denied"
        })
    }
}

/// A client with somebody's token. Secrets that it receives are registered for redaction.
#[derive(Debug, Clone)]
pub struct Plexsphere {
    http: reqwest::Client,
    base: String,
    token: Option<SecretString>,
    redactor: Redactor,
}

/// An answer and the `Location` that came with it.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The body.
    pub body: T,
    /// The header; empty when there is none.
    pub location: String,
}

impl Plexsphere {
    /// A client of the control plane at `base`.
    pub fn new(http: reqwest::Client, base: &str, token: SecretString, redactor: Redactor) -> Self {
        Self { token: Some(token), ..Self::signed_out(http, base, redactor) }
    }

    /// A client of the control plane at `base` that has no token yet.
    pub fn signed_out(http: reqwest::Client, base: &str, redactor: Redactor) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned(), token: None, redactor }
    }

    /// The same client with another's token.
    #[must_use]
    pub fn with_token(&self, token: SecretString) -> Self {
        self.redactor.register(token.expose_secret());
        Self { token: Some(token), ..self.clone() }
    }

    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, PlexsphereError> {
        Ok(self.located(method, path, body).await?.body)
    }

    pub(super) async fn located<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Located<T>, PlexsphereError> {
        let answer = self.send(method.clone(), path, body).await?;
        let location = answer.headers().get(reqwest::header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = answer.json().await;
        let body =
            body.map_err(|source| PlexsphereError::Transport { method, path: path.to_owned(), source })?;
        Ok(Located { body, location })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<reqwest::Response, PlexsphereError> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let transport =
            |source| PlexsphereError::Transport { method: method.clone(), path: path.to_owned(), source };
        let answer = request.send().await.map_err(transport)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name: &str| problem[name].as_str().map(str::to_owned);
        Err(PlexsphereError::Problem(Box::new(Problem {
            method: method.clone(),
            path: path.to_owned(),
            status,
            code: field("code").unwrap_or_default(),
            title: field("title").unwrap_or_default(),
            detail: field("detail").unwrap_or(text),
            reason: field("reason"),
        })))
    }
}

#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) id: Uuid,
}
