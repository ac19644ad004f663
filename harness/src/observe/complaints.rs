//! What programs complained about: lines of level WARN or ERROR in the logs of a stack's containers, and in the log
//! of this process, which holds API server, controllers and kubelet.
//!
//! Owns: finding complaints. Does not own: which of them are to be expected; a scenario says so.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Who the driver's own complaints are from.
pub const DRIVER: &str = "driver";

/// One line that somebody logged as a warning or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The container's name, or [`DRIVER`].
    pub who: String,
    /// The line, without the time that the kubelet puts before it.
    pub line: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.who, self.line)
    }
}

/// The complaints of containers with these names. Their logs are `…/logs/<container>/<attempt>.log` below the
/// stack's directory; a log that cannot be read is a complaint too, as nothing is known about it.
pub fn of_containers(stack: &Path, containers: &[&str]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut pending = vec![stack.to_owned()];
    while let Some(directory) = pending.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok).collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(path);
                continue;
            }
            let Some(container) = container_of(&path).filter(|name| containers.contains(name)) else {
                continue;
            };
            match std::fs::read(&path) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    let lines = text.lines().map(message).filter(|line| is_complaint(line));
                    complaints.extend(
                        lines.map(|line| Complaint { who: container.to_owned(), line: line.to_owned() }),
                    );
                }
                Err(error) => {
                    let line = format!("read {}: {error}", path.display());
                    complaints.push(Complaint { who: container.to_owned(), line });
                }
            }
        }
    }
    complaints
}

/// The container whose log this is, if it is one.
fn container_of(path: &Path) -> Option<&str> {
    path.extension().filter(|extension| *extension == "log")?;
    let directory = path.parent()?;
    (directory.parent()?.file_name()? == "logs").then(|| directory.file_name()?.to_str()).flatten()
}

/// A line of a container's log without the kubelet's `<time> <stream> <F|P> `.
fn message(line: &str) -> &str {
    line.splitn(4, ' ').nth(3).unwrap_or(line)
}

/// Whether a stand-in logged the line as a warning or an error: `<time>  WARN …`, `level=WARN …` or plexd's
/// `time=… level=WARN …`.
/// A last word (`Error: …`) comes without a level.
fn is_complaint(message: &str) -> bool {
    let mut words = message.split_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let levelled = |word| matches!(word, "level=WARN" | "level=ERROR");
    first == "Error:" || levelled(first) || levelled(second) || matches!(second, "WARN" | "ERROR")
}

/// The complaints of this process. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct DriverLog {
    complaints: Arc<Mutex<Vec<Complaint>>>,
}

impl DriverLog {
    /// Listens to this process from now on.
    ///
    /// # Errors
    /// A process can have one listener, and has one already.
    pub fn install() -> Result<Self, SetGlobalDefaultError> {
        let log = Self::default();
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log.clone()))?;
        Ok(log)
    }

    /// What was heard since the last call.
    pub fn take(&self) -> Vec<Complaint> {
        std::mem::take(&mut *self.complaints.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for DriverLog {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN {
            return;
        }
        let mut line = format!("{} {}:", metadata.level(), metadata.target());
        event.record(&mut Fields(&mut line));
        let complaint = Complaint { who: DRIVER.to_owned(), line };
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
    }
}

struct Fields<'l>(&'l mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_errors_of_the_named_containers_are_found_and_nothing_else() {
        let stack = tempfile::tempdir().unwrap();
        for (container, text) in [
            (
                "vault",
                "2026-01-01T00:00:00.1Z stderr F 2026-01-01T00:00:00.1Z  WARN sealed at=now\n\
                 2026-01-01T00:00:00.2Z stderr F 2026-01-01T00:00:00.2Z  INFO a token with ERROR in its text\n",
            ),
            (
                "plexd",
                "2026-01-01T00:00:00.1Z stderr F time=2026-01-01T00:00:00Z level=ERROR msg=\"no\"\n\
                 2026-01-01T00:00:00.2Z stderr F Error: registration refused\n",
            ),
            ("plexsphere", "2026-01-01T00:00:00.1Z stderr F level=WARN msg=\"insecure default\"\n"),
            ("postgres", "2026-01-01T00:00:00.1Z stderr F x ERROR y\n"),
        ] {
            let directory = stack.path().join("kubelet/pods/uid/logs").join(container);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("0.log"), text).unwrap();
        }
        std::fs::write(stack.path().join("driver.log"), "x WARN y\n").unwrap();
        let found = of_containers(stack.path(), &["vault", "plexd", "plexsphere"]);
        let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
        found.sort();
        assert_eq!(
            found,
            [
                "plexd: Error: registration refused",
                "plexd: time=2026-01-01T00:00:00Z level=ERROR msg=\"no\"",
                "plexsphere: level=WARN msg=\"insecure default\"",
                "vault: 2026-01-01T00:00:00.1Z  WARN sealed at=now",
            ]
        );
    }

    #[test]
    fn a_warning_of_this_process_is_heard_once() {
        let log = DriverLog::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            tracing::info!("all is well");
            tracing::warn!(kind = "Secret", "watch interrupted");
        });
        let heard = log.take();
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(heard[0].who, DRIVER);
        assert!(heard[0].line.ends_with(" watch interrupted kind=\"Secret\""), "{}", heard[0]);
        assert!(log.take().is_empty());
    }
}
