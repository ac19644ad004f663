//! What this machine has and lacks, for `cargo xtask doctor`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::backend::BackendKind;
use crate::machine::limits::too_low;
use crate::machine::port_owner::port_owner;
use crate::paths::{Paths, create_private_dir};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It is there.
    Good,
    /// plexlab works without it, with less comfort or fewer checks.
    Optional,
    /// plexlab does not work without it.
    Missing,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How much it matters.
    pub level: Level,
    /// What was found, and what to do if that is not good.
    pub detail: String,
}

impl Finding {
    fn new(subject: &str, level: Level, detail: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), level, detail: detail.into() }
    }
}

/// Optional programs, and what they are good for.
const TOOLS: &[(&str, &str)] = &[
    ("kubectl", "works with a stack from the command line; tests use it as a client"),
    ("psql", "reads the control plane's database as the how-tos do; tests use it as a client"),
    ("helm", "installs charts on a stack"),
    ("docker", "runs the tests that need a container engine"),
];

/// Looks at everything. `postgres` is what the search for server binaries said: where they are, or why there
/// are none; `kind` what the container engine and kind said.
pub fn all(
    paths: &Paths,
    postgres: Result<PathBuf, String>,
    kind: Result<String, String>,
    search_path: &[PathBuf],
) -> Vec<Finding> {
    let mut findings = vec![
        backend(BackendKind::Embedded, Level::Missing),
        backend(BackendKind::Envtest, Level::Optional),
        match kind {
            Ok(programs) => Finding::new("kind backend", Level::Good, programs),
            Err(why) => Finding::new("kind backend", Level::Optional, why),
        },
        postgres_binaries(postgres),
    ];
    findings.push(directory("state directory", &paths.state, "PLEXLAB_STATE_DIR"));
    findings.push(directory("cache directory", &paths.cache, "PLEXLAB_CACHE"));
    findings.push(port(8080));
    let low = too_low(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
    findings.extend(low.into_iter().map(|what| Finding::new("limits for kind", Level::Optional, what)));
    findings.extend(TOOLS.iter().map(|(tool, use_of_it)| match find_program(tool, search_path) {
        Some(path) => Finding::new(tool, Level::Good, path.display().to_string()),
        None => Finding::new(tool, Level::Optional, format!("not found; it {use_of_it}")),
    }));
    findings
}

fn backend(kind: BackendKind, without: Level) -> Finding {
    let subject = format!("{kind} backend");
    match kind.available() {
        Ok(()) => Finding::new(&subject, Level::Good, "can run here"),
        Err(unavailable) => {
            Finding::new(&subject, without, format!("{}; {}", unavailable.why, unavailable.hint))
        }
    }
}

fn postgres_binaries(found: Result<PathBuf, String>) -> Finding {
    match found {
        Ok(path) => Finding::new("Postgres server", Level::Good, path.display().to_string()),
        Err(why) => Finding::new(
            "Postgres server",
            Level::Optional,
            format!("{why}; the first stack downloads one, which needs the network"),
        ),
    }
}

fn directory(subject: &str, path: &Path, variable: &str) -> Finding {
    let writable = create_private_dir(path).and_then(|()| tempfile::tempfile_in(path).map(drop));
    match writable {
        Ok(()) => Finding::new(subject, Level::Good, path.display().to_string()),
        Err(error) => Finding::new(
            subject,
            Level::Missing,
            format!("{} cannot be written to: {error}; set {variable} to another directory", path.display()),
        ),
    }
}

fn port(port: u16) -> Finding {
    let subject = format!("port {port}");
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::new(&subject, Level::Good, "free for the control plane of `cargo xtask up`"),
        Err(error) => {
            let owner =
                port_owner(port).map_or_else(|| error.to_string(), |owner| format!("taken by {owner}"));
            Finding::new(
                &subject,
                Level::Optional,
                format!("{owner}; the control plane will get another port"),
            )
        }
    }
}

fn find_program(name: &str, search_path: &[PathBuf]) -> Option<PathBuf> {
    search_path.iter().map(|directory| directory.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_written_to_is_named_with_its_variable() {
        let finding = directory("state directory", Path::new("/proc/nothing/here"), "PLEXLAB_STATE_DIR");
        assert_eq!(finding.level, Level::Missing);
        assert!(finding.detail.contains("PLEXLAB_STATE_DIR"), "{}", finding.detail);
    }

    #[test]
    fn a_taken_port_is_named_with_its_owner() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let finding = port(listener.local_addr().unwrap().port());
        assert!(finding.detail.contains(&std::process::id().to_string()), "{}", finding.detail);
    }
}
