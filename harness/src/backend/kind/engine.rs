//! The container engine and the `kind` program: which there are, and whether they can be used.

use std::path::PathBuf;
use std::time::Duration;

use super::tool::{Tool, ToolError};

/// The engines that kind knows, the one it prefers first.
const ENGINES: [&str; 3] = ["docker", "podman", "nerdctl"];
/// The oldest `kind` whose configuration and node images are what plexlab expects.
const OLDEST: (u32, u32) = (0, 20);
/// An engine that takes longer to say who it is does not work.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Something that kind needs is missing.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine.
    #[error(
        "no container engine is on PATH (docker, podman or nerdctl); install one, or use `--backend embedded`"
    )]
    NoEngine,
    /// No kind.
    #[error("the program `kind` is not on PATH; see https://kind.sigs.k8s.io, or use `--backend embedded`")]
    NoKind,
    /// The engine's daemon may not be asked by this user.
    #[error(
        "{engine} is there, but this user may not use it:{said}\nadd the user to its group (`sudo usermod -aG docker $USER`, \
         then sign in anew), or use rootless {engine}"
    )]
    Forbidden {
        /// Its name.
        engine: &'static str,
        /// What it said.
        said: String,
    },
    /// The engine does not run.
    #[error(
        "{engine} is there, but does not answer: {source}\nstart it (`sudo systemctl start {engine}`) and try again"
    )]
    Down {
        /// Its name.
        engine: &'static str,
        /// What was seen.
        source: ToolError,
    },
    /// kind is too old, or does not say its version.
    #[error("kind is {seen}; plexlab needs v{}.{} or later", OLDEST.0, OLDEST.1)]
    Old {
        /// What it said of itself.
        seen: String,
    },
    /// kind does not run.
    #[error(transparent)]
    Kind(ToolError),
}

/// What makes clusters.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    /// The engine's name.
    pub(super) name: &'static str,
    /// Its own program, for what is done in the nodes.
    pub(super) program: Tool,
    /// The `kind` program, told of the engine.
    pub(super) kind: Tool,
    /// What kind says of itself.
    pub(super) version: String,
}

fn on_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH")?;
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

/// Whether the programs are there; whether they work is found when they are asked.
///
/// # Errors
/// [`EngineError::NoEngine`], [`EngineError::NoKind`].
pub fn look() -> Result<(), EngineError> {
    ENGINES.into_iter().find_map(on_path).ok_or(EngineError::NoEngine)?;
    on_path("kind").map(drop).ok_or(EngineError::NoKind)
}

/// Finds an engine that answers, and a kind that is new enough.
///
/// # Errors
/// [`EngineError`]: of the first engine that is there, when none answers.
pub(super) async fn find() -> Result<Engine, EngineError> {
    let (name, program) = answering().await?;
    let kind = on_path("kind").ok_or(EngineError::NoKind)?;
    let kind = Tool { program: kind, variables: vec![("KIND_EXPERIMENTAL_PROVIDER", name.to_owned())] };
    let version = kind.run(&["version"], ANSWERS_WITHIN).await.map_err(EngineError::Kind)?;
    let seen = version.trim().to_owned();
    match parsed(&version) {
        Some(found) if found >= OLDEST => Ok(Engine { name, program, kind, version: seen }),
        _ => Err(EngineError::Old { seen }),
    }
}

/// The first engine that answers: one may be installed and not running, and another do.
async fn answering() -> Result<(&'static str, Tool), EngineError> {
    let mut first = None;
    for (name, program) in ENGINES.into_iter().filter_map(|name| Some((name, on_path(name)?))) {
        let engine = Tool { program, variables: Vec::new() };
        let Err(source) = engine.run(&["info"], ANSWERS_WITHIN).await else { return Ok((name, engine)) };
        let said = source.said().to_ascii_lowercase();
        first.get_or_insert(if said.contains("permission denied") {
            EngineError::Forbidden { engine: name, said: source.said().to_owned() }
        } else {
            EngineError::Down { engine: name, source }
        });
    }
    Err(first.unwrap_or(EngineError::NoEngine))
}

/// Of `kind v0.31.0 go1.25.0 linux/amd64`.
fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split_whitespace().nth(1)?.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_kind_says() {
        assert_eq!(parsed("kind v0.31.0 go1.25.5 linux/amd64\n"), Some((0, 31)));
        assert_eq!(parsed("kind v0.32.0-alpha+2f9a1c go1.26 linux/arm64"), Some((0, 32)));
        assert_eq!(parsed("kind version 0.7"), None);
        assert!(parsed("kind v0.19.0 go1.20 linux/amd64").unwrap() < OLDEST);
    }
}
