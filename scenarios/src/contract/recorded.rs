//! The exchanges of a stack that runs: its control plane keeps their bodies, and afterwards they are checked.

use plexlab_harness::observe::requests::{self, ReadError};
use serde_json::json;

use super::check::{Report, check};
use super::spec::{Spec, SpecError};

/// The exchanges could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// The record did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record cannot keep bodies.
    #[error("ask {url} to keep bodies: {source}")]
    Keep {
        /// The control plane.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The description.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// Asks the stand-in at `url` to keep the bodies of exchanges from now on.
///
/// # Errors
/// [`RecordedError::Keep`], for example when it is the real control plane.
pub async fn keep_bodies(http: &reqwest::Client, url: &str) -> Result<(), RecordedError> {
    let fail = |source| RecordedError::Keep { url: url.to_owned(), source };
    let wish = http.put(format!("{url}/__lab/requests/bodies")).json(&json!({"keep": true}));
    wish.send().await.and_then(reqwest::Response::error_for_status).map(drop).map_err(fail)
}

/// Checks what was exchanged at `url` after `since`.
///
/// # Errors
/// [`RecordedError`].
pub async fn checked(
    http: &reqwest::Client,
    url: &str,
    since: u64,
    spec: &Spec,
) -> Result<Report, RecordedError> {
    Ok(check(spec, &requests::read(http, url, since).await?)?)
}
