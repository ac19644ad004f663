//! The real programs, and why they cannot be used.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The variable that names the directory, as for controller-runtime's envtest.
pub const VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// The programs of one Kubernetes version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assets {
    directory: PathBuf,
}

/// There are no programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissingAssets {
    /// The variable is not set.
    #[error("{VARIABLE} is not set")]
    Unset,
    /// A program is not there, or not executable.
    #[error("{VARIABLE} is {directory}, which has no executable `{program}`")]
    Program {
        /// The directory named.
        directory: PathBuf,
        /// What it lacks.
        program: &'static str,
    },
}

impl Assets {
    /// Those that the environment names.
    ///
    /// # Errors
    /// [`MissingAssets`].
    pub fn from_environment() -> Result<Self, MissingAssets> {
        match std::env::var_os(VARIABLE) {
            Some(directory) if !directory.is_empty() => Self::at(Path::new(&directory)),
            _ => Err(MissingAssets::Unset),
        }
    }

    /// Those in a directory.
    ///
    /// # Errors
    /// [`MissingAssets::Program`].
    pub fn at(directory: &Path) -> Result<Self, MissingAssets> {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let runs = |program: &&str| {
            let found = std::fs::metadata(directory.join(program));
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        match ["etcd", "kube-apiserver"].into_iter().find(|program| !runs(program)) {
            Some(program) => Err(MissingAssets::Program { directory, program }),
            None => Ok(Self { directory }),
        }
    }

    pub(super) fn etcd(&self) -> PathBuf {
        self.directory.join("etcd")
    }

    pub(super) fn kube_apiserver(&self) -> PathBuf {
        self.directory.join("kube-apiserver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_program_is_named_with_what_it_lacks() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("etcd"), "").unwrap();
        let lacks = |program: &str| {
            let error = Assets::at(directory.path()).unwrap_err().to_string();
            error.contains(directory.path().to_str().unwrap()) && error.contains(program)
        };
        assert!(lacks("`etcd`"), "it is not executable");
        for program in ["etcd", "kube-apiserver"] {
            assert!(lacks(program));
            let path = directory.path().join(program);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert!(Assets::at(directory.path()).is_ok());
    }
}
