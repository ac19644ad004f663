//! Many watches of one resource: how long a change takes to reach the last of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::{ClientError, Watch};
use super::sizes::grouped;
use super::{MEMORY, Row, Server, objects};

/// Watches that are opened at the same time.
const OPENED_AT_ONCE: usize = 32;

/// Opens the watches, then makes one change after another, each once all have seen the one before.
pub async fn measure(server: &Server) -> Result<Vec<Row>, ClientError> {
    let (watches, changes) = (server.sizes.watches, server.sizes.changes);
    let name = grouped(watches);
    let made = server.endpoint.connect().await?.succeed(objects::watched_config_map()).await?;
    let path = watch_path(&made)?;

    let begun = Instant::now();
    let opening = (0..watches).map(|_| async { server.endpoint.connect().await?.watch(path.clone()).await });
    let open: Vec<Watch> = stream::iter(opening).buffer_unordered(OPENED_AT_ONCE).try_collect().await?;
    let opened = begun.elapsed().as_secs_f64() * 1000.0;
    let mut rows = vec![
        Row::less(format!("open {name} watches"), "ms", vec![opened], None),
        Row::less(
            format!("resident memory, {name} watches"),
            "MiB",
            vec![server.memory().await],
            Some(MEMORY),
        ),
    ];

    let (arrivals, mut complete) = Arrivals::of(watches);
    let mut tasks = JoinSet::new();
    for watch in open {
        tasks.spawn(arrivals.clone().follow(watch));
    }
    // Not the connection from before: both servers close one over which nothing is asked for some time.
    let mut writer = server.endpoint.connect().await?;
    let mut times = Vec::with_capacity(changes);
    let begun = Instant::now();
    for number in 0..changes {
        writer.succeed(objects::change_watched(number)).await?;
        let answered = Instant::now();
        let last = complete.recv().await.ok_or(ClientError::Ended("all watches"))??;
        // The last event may come before the answer.
        times.push(last.saturating_duration_since(answered));
    }
    let total = begun.elapsed();
    rows.extend(Row::percentiles(&format!("a write's answer to the last of {name} events"), times));
    rows.push(Row::rate(format!("events, {changes} changes to {name} watches"), watches * changes, total));
    Ok(rows)
}

/// A watch of what comes after the object was made.
fn watch_path(made: &[u8]) -> Result<String, ClientError> {
    let object: serde_json::Value = serde_json::from_slice(made).unwrap_or_default();
    match object["metadata"]["resourceVersion"].as_str() {
        Some(version) => Ok(format!(
            "/api/v1/namespaces/{}/configmaps?watch=true&resourceVersion={version}",
            objects::WATCHED
        )),
        None => Err(ClientError::Garbled { path: "a ConfigMap".into(), why: "it has no version".into() }),
    }
}

/// The events of all watches, counted. As the next change is made when all have the last one, every `watches` events
/// are one change.
#[derive(Debug)]
struct Arrivals {
    watches: usize,
    events: AtomicUsize,
    complete: mpsc::UnboundedSender<Result<Instant, ClientError>>,
}

type Complete = mpsc::UnboundedReceiver<Result<Instant, ClientError>>;

impl Arrivals {
    /// The receiver has the time at which each change had come everywhere.
    fn of(watches: usize) -> (Arc<Self>, Complete) {
        let (complete, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { watches, events: AtomicUsize::new(0), complete }), receiver)
    }

    async fn follow(self: Arc<Self>, mut watch: Watch) {
        loop {
            match watch.events().await {
                Ok(count) => self.came(count),
                Err(error) => {
                    let _ = self.complete.send(Err(error));
                    return;
                }
            }
        }
    }

    fn came(&self, count: usize) {
        let before = self.events.fetch_add(count, Ordering::Relaxed);
        if before / self.watches < (before + count) / self.watches {
            let _ = self.complete.send(Ok(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_complete_when_every_watch_has_it() {
        let (arrivals, mut complete) = Arrivals::of(3);
        let mut completed = |count| {
            arrivals.came(count);
            complete.try_recv().is_ok()
        };
        assert_eq!([1, 0, 1, 1, 1, 2].map(&mut completed), [false, false, false, true, false, true]);
    }
}
