//! The exchanges of a stack that runs: its control plane keeps their bodies, and afterwards they are checked.

use std::sync::OnceLock;

use plexlab_harness::observe::requests::{self, ReadError};
use plexlab_harness::run::Failure;
use plexlab_lab::Exchange;
use serde_json::json;

use super::check::{Report, check};
use super::spec::{Spec, SpecError, VARIABLE};

/// So many findings are told; the rest are counted.
const TOLD: usize = 10;

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

/// The description that the variable names, read once; none when it is unset.
///
/// # Errors
/// A failure when it cannot be used.
pub fn given() -> Result<Option<&'static Spec>, Failure> {
    static GIVEN: OnceLock<Result<Option<Spec>, SpecError>> = OnceLock::new();
    match GIVEN.get_or_init(Spec::given) {
        Ok(spec) => Ok(spec.as_ref()),
        Err(error) => Err(Failure::error(VARIABLE, error)),
    }
}

/// Holds exchanges against the given description, if there is one.
///
/// # Errors
/// A failure that tells what does not fit.
pub fn judge(exchanges: &[Exchange]) -> Result<(), Failure> {
    let Some(spec) = given()? else { return Ok(()) };
    let report = check(spec, exchanges)?;
    if report.findings.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = report.findings.iter().take(TOLD).map(ToString::to_string).collect();
    let more = report.findings.len().saturating_sub(TOLD);
    let more = if more == 0 { String::new() } else { format!("\n… and {more} more") };
    let seen = format!(
        "{} findings in {} exchanges:\n{}{more}",
        report.findings.len(),
        report.checked,
        told.join("\n")
    );
    Err(Failure {
        step: "contract".into(),
        ..Failure::expected("exchanges as the OpenAPI document describes", seen)
    })
}
