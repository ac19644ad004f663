//! SIGINT and SIGTERM, as a future.

use tokio::signal::unix::{SignalKind, signal};

/// Returns at the first SIGINT, SIGTERM or SIGHUP; never, when signals cannot be watched.
pub async fn interrupted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
