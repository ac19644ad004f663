//! The server of Git repositories and charts that the stack's Flux reads from: commits and charts by its own routes.

use std::collections::BTreeMap;

use plexlab_harness::run::Failure;
use serde_json::{Value, json};

use crate::eso_through_flux::tree::Changes;

/// A client of it.
#[derive(Debug, Clone)]
pub struct Repository {
    http: reqwest::Client,
    base: String,
}

impl Repository {
    /// Of the server at `base`.
    pub fn new(http: reqwest::Client, base: &str) -> Self {
        Self { http, base: base.to_owned() }
    }

    /// Commits to `main` and gives the revision as Flux writes it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn commit(&self, message: &str, files: &Changes) -> Result<String, Failure> {
        let body = json!({"branch": "main", "message": message, "files": files});
        let answer = self.post("git/flux-system", &body).await?;
        Ok(format!("main@sha1:{}", answer["commit"].as_str().unwrap_or_default()))
    }

    /// Puts a chart into the repository of charts.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn publish(&self, files: &BTreeMap<String, String>) -> Result<(), Failure> {
        self.post("charts", &json!({"files": files})).await.map(drop)
    }

    async fn post(&self, what: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.http.post(format!("{}/__lab/{what}", self.base)).json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(Failure::error(format!("the server of {what} answers {status}"), text.trim()));
        }
        Ok(serde_json::from_str(&text)?)
    }
}
