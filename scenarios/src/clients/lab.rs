//! The stand-in control plane's own routes, for what no published API offers.

use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

/// The route did not answer as it does.
#[derive(Debug, thiserror::Error)]
#[error("ask the control plane's {path}: {source}")]
pub struct LabError {
    path: &'static str,
    source: reqwest::Error,
}

/// Posts to one of a stand-in's own routes; what it answered.
///
/// # Errors
/// When it does not take it.
pub async fn post(http: &Client, base: &str, route: &str, body: &Value) -> reqwest::Result<Value> {
    let url = format!("{}/__lab/{route}", base.trim_end_matches('/'));
    http.post(url).json(body).send().await?.error_for_status()?.json().await
}

const AUTHZ: &str = "/__lab/authz";

/// How far authorization is behind what was granted.
#[derive(Debug, Clone)]
pub struct AuthorizationLag {
    http: Client,
    base: String,
}

#[derive(Deserialize)]
struct Answer {
    lag_ms: u64,
}

impl AuthorizationLag {
    /// Of the control plane at `base`.
    pub fn new(http: Client, base: &str) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned() }
    }

    /// The lag.
    ///
    /// # Errors
    /// When the route does not answer.
    pub async fn get(&self) -> Result<Duration, LabError> {
        let answer = self.http.get(format!("{}{AUTHZ}", self.base)).send().await;
        lag(answer).await
    }

    /// Sets it for grants from now on.
    ///
    /// # Errors
    /// When the route does not answer.
    pub async fn set(&self, to: Duration) -> Result<Duration, LabError> {
        let wish = json!({"lag_ms": u64::try_from(to.as_millis()).unwrap_or(u64::MAX)});
        lag(self.http.post(format!("{}{AUTHZ}", self.base)).json(&wish).send().await).await
    }
}

async fn lag(answer: reqwest::Result<reqwest::Response>) -> Result<Duration, LabError> {
    let fail = |source| LabError { path: AUTHZ, source };
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(fail)?;
    Ok(Duration::from_millis(answer.json::<Answer>().await.map_err(fail)?.lag_ms))
}
