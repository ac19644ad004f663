//! Where plexlab keeps files. Nothing is ever written outside of these two roots, the reports
//! directory that a command names, and the terminal.
//!
//! ```text
//! $PLEXLAB_STATE_DIR | $XDG_STATE_HOME/plexlab | ~/.local/state/plexlab     (0700)
//! ├── bare/                    control planes without a cluster, one directory each
//! ├── kept/                    clusters of kind that outlive their stacks: see `backend/kind/kept.rs`
//! ├── kube/                    clusters of `kube serve`, one directory each
//! ├── snapshots/               what `snapshot save` keeps, one directory each
//! ├── stacks.lock              held while a stack's directory is made, or a dead one's removed
//! └── stacks/
//!     └── <name>/              one stack; all of it goes with the stack
//!         ├── lock             held by the stack's driver as long as it lives
//!         ├── stack.json       what runs, where (0600)
//!         ├── driver.log       the driver's own log
//!         ├── control.sock     where other commands ask the driver
//!         ├── kubeconfig       admin access (0600)
//!         ├── operator-token   the seeded platform operator's API token (0600)
//!         ├── owner-token      the seeded project owner's API token (0600)
//!         ├── vault-token      the secret store's root token (0600)
//!         ├── clouds-ca.crt    authority of the clouds' certificates; clouds-env.json, google-key.json: see `clouds/access.rs`
//!         ├── kubernetes/      the real programs' files, on the envtest backend
//!         └── kubelet/         nodes' directories, pods' volumes and logs
//!
//! $PLEXLAB_CACHE | $XDG_CACHE_HOME/plexlab | ~/.cache/plexlab               (0700)
//! └── postgres/                server binaries (if downloaded) and initialised templates
//! ```

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The two roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Directory of all stacks' state.
    pub state: PathBuf,
    /// Directory of what is worth keeping between stacks.
    pub cache: PathBuf,
}

/// No directory can be derived from the environment.
#[derive(Debug, thiserror::Error)]
#[error("neither {variable} nor HOME is set; set {variable} to a directory that plexlab may write to")]
pub struct NoHome {
    variable: &'static str,
}

impl Paths {
    /// Reads the roots from the environment, through `variable` (tests pass a map).
    ///
    /// # Errors
    /// [`NoHome`] when neither plexlab's own variable, nor XDG's, nor `HOME` is set.
    pub fn from_environment(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, NoHome> {
        let root = |own: &'static str, xdg: &str, below_home: &str| {
            let set = |name: &str| variable(name).filter(|path| path.is_absolute());
            set(own)
                .or_else(|| set(xdg).map(|path| path.join("plexlab")))
                .or_else(|| set("HOME").map(|path| path.join(below_home).join("plexlab")))
                .ok_or(NoHome { variable: own })
        };
        Ok(Self {
            state: root("PLEXLAB_STATE_DIR", "XDG_STATE_HOME", ".local/state")?,
            cache: root("PLEXLAB_CACHE", "XDG_CACHE_HOME", ".cache")?,
        })
    }

    /// The directory of all stacks.
    pub fn stacks(&self) -> PathBuf {
        self.state.join("stacks")
    }

    /// The directory of one stack.
    pub fn stack(&self, name: &str) -> PathBuf {
        self.stacks().join(name)
    }
}

/// Makes a directory and its parents, each with mode 0700.
///
/// # Errors
/// The system's.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file with mode 0600, through a temporary name, so that a reader never sees half of it.
///
/// # Errors
/// The system's.
pub fn write_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".tmp-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    drop(file);
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Paths, NoHome> {
        Paths::from_environment(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
        })
    }

    #[test]
    fn own_variables_win_over_xdg_and_home() {
        let paths = with(&[("PLEXLAB_STATE_DIR", "/s"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")]).unwrap();
        assert_eq!(paths.state, Path::new("/s"));
        assert_eq!(paths.cache, Path::new("/h/.cache/plexlab"));
    }

    #[test]
    fn a_relative_xdg_directory_is_passed_over_as_the_standard_says() {
        let paths = with(&[("XDG_STATE_HOME", "rel"), ("HOME", "/h")]).unwrap();
        assert_eq!(paths.state, Path::new("/h/.local/state/plexlab"));
    }

    #[test]
    fn without_a_home_the_error_names_the_variable_to_set() {
        assert!(with(&[]).unwrap_err().to_string().contains("PLEXLAB_STATE_DIR"));
    }

    #[test]
    fn private_files_are_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        create_private_dir(&inner).unwrap();
        let file = inner.join("token");
        write_private_file(&file, b"one").unwrap();
        write_private_file(&file, b"two").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 1);
    }
}
