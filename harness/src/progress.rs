//! Progress of bringing a stack up or down, as data: a printer renders it, another process relays it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "news")]
pub enum News {
    /// A phase began.
    Began {
        /// Its name, for example `start the cluster`.
        phase: String,
    },
    /// A phase ended well.
    Ended {
        /// Its name.
        phase: String,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// Something worth a line of its own.
    Note {
        /// The line.
        text: String,
    },
}

/// Where news goes. Cloning shares it.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(News) + Send + Sync>);

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// News goes to this function.
    pub fn new(tell: impl Fn(News) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Nobody is told.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Passes news on.
    pub fn tell(&self, news: News) {
        (self.0)(news);
    }

    /// A line of its own.
    pub fn note(&self, text: impl Into<String>) {
        (self.0)(News::Note { text: text.into() });
    }

    /// Runs a phase between its two pieces of news. No `Ended` follows when it fails.
    ///
    /// # Errors
    /// Those of the phase.
    pub async fn phase<T, E>(&self, phase: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        (self.0)(News::Began { phase: phase.to_owned() });
        let started = Instant::now();
        let done = work.await?;
        (self.0)(News::Ended { phase: phase.to_owned(), millis: millis(started.elapsed()) });
        Ok(done)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
