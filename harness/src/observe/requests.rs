//! The requests at a stand-in, read from its `/__lab/requests`, as timeline entries.

use std::collections::BTreeMap;

use plexlab_lab::Exchange;

use crate::timeline::{Entry, Source, Timeline};

/// The record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read the recorded requests of {url}: {source}")]
pub struct ReadError {
    url: String,
    source: reqwest::Error,
}

/// Requests that say nothing: probes and the harness's own look-ups.
const QUIET: &[&str] = &["/v1/health", "/v1/sys/health"];

/// Reads what came in after `since` and returns it with the sequence to go on from.
///
/// # Errors
/// [`ReadError`] when the stand-in does not answer.
pub async fn read(http: &reqwest::Client, url: &str, since: u64) -> Result<Vec<Exchange>, ReadError> {
    let fail = |source| ReadError { url: url.to_owned(), source };
    let answer = http.get(format!("{url}/__lab/requests?since={since}")).send().await.map_err(fail)?;
    answer.error_for_status().map_err(fail)?.json().await.map_err(fail)
}

/// Puts exchanges into the timeline.
pub fn record(timeline: &Timeline, server: &str, exchanges: &[Exchange]) {
    for exchange in exchanges.iter().filter(|exchange| !QUIET.contains(&exchange.path.as_str())) {
        let outcome = match exchange.status {
            Some(status) => status.to_string(),
            None => "no reply".to_owned(),
        };
        let mut fields: BTreeMap<String, String> = exchange.notes.clone();
        fields.insert("status".into(), outcome.clone());
        let code = exchange.notes.get("code").map(|code| format!(" {code}")).unwrap_or_default();
        timeline.add(Entry {
            at: exchange.at,
            source: Source::Http,
            actor: server.to_owned(),
            what: format!("{} {} → {outcome}{code}", exchange.method, exchange.path),
            fields,
        });
    }
}
