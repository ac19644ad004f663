//! Requests to the clouds that are asked at their real hosts, to which the stack's proxy leads.

use std::time::Duration;

use reqwest::Method;

/// A cloud did not take the request.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No answer.
    #[error("reach the cloud: {0}")]
    Transport(#[from] reqwest::Error),
    /// A refusal.
    #[error("{method} {path}: status {status}: {body}")]
    Refused {
        /// HTTP method.
        method: Method,
        /// Path.
        path: String,
        /// Status.
        status: u16,
        /// Body, as the cloud words its errors.
        body: String,
    },
    /// An answer without a token.
    #[error("{0} answers without a token")]
    NoToken(&'static str),
    /// A key that signs nothing.
    #[error("the service account's key cannot sign")]
    Key,
}

/// A client that goes through a proxy and trusts this authority (PEM) only.
///
/// # Errors
/// When the authority is none.
pub fn through(proxy: &str, authority: &[u8]) -> Result<reqwest::Client, RestError> {
    let builder = reqwest::Client::builder()
        .proxy(reqwest::Proxy::all(proxy)?)
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(authority)?)
        .timeout(Duration::from_secs(30));
    Ok(builder.build()?)
}

/// The answer, unless it is a refusal.
///
/// # Errors
/// [`RestError::Refused`].
pub async fn checked(
    answer: reqwest::Response,
    method: &Method,
    path: &str,
) -> Result<reqwest::Response, RestError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.text().await.unwrap_or_default();
    Err(RestError::Refused { method: method.clone(), path: path.to_owned(), status: status.as_u16(), body })
}
