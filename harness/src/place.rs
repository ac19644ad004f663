//! A directory of one process's own below a root that many share: it goes with the process, or with the next that comes.
//!
//! ```text
//! <root>/
//! ├── lock                     one lock for coming and going
//! └── <random>/                one process's
//!     └── lock                 held as long as it lives
//! ```
//!
//! One that says that a cluster of kind is its own stays until somebody deletes that, which `gc` does.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::backend::kind::cluster::has_cluster;
use crate::paths::create_private_dir;
use crate::stack::record::FileLock;

/// There is no such directory to be had.
#[derive(Debug, thiserror::Error)]
#[error("use {path}: {source}")]
pub struct PlaceError {
    /// Which.
    path: PathBuf,
    /// Why not.
    source: io::Error,
}

/// A directory of this process's own.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    _lock: FileLock,
}

impl Place {
    /// Makes one below `root`, and removes those whose processes are gone.
    pub(crate) fn take(root: &Path) -> Result<Self, PlaceError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| PlaceError { path, source }
        };
        create_private_dir(root).map_err(unusable(root))?;
        // One at a time: a directory must not be swept away between its making and its locking.
        let _turn = FileLock::wait(&root.join("lock")).map_err(unusable(root))?;
        sweep(root).map_err(unusable(root))?;
        let private = std::fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(8)
            .permissions(private)
            .tempdir_in(root)
            .map_err(unusable(root))?;
        let dir = made.keep();
        let path = dir.join("lock");
        let lock = FileLock::try_take(&path).map_err(unusable(&path))?;
        let lock = lock.ok_or_else(|| unusable(&path)(io::ErrorKind::WouldBlock.into()))?;
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.dir)
    }
}

impl Drop for Place {
    /// For a start that failed; after [`Place::remove`] nothing is there.
    fn drop(&mut self) {
        if !has_cluster(&self.dir) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Removes the directories that no living process holds.
fn sweep(root: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() && FileLock::try_take(&path.join("lock"))?.is_some() && !has_cluster(&path) {
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Directories below `root` that no living process holds, in order.
pub(crate) fn unheld(root: &Path) -> Vec<PathBuf> {
    let Ok(_turn) = FileLock::wait(&root.join("lock")) else { return Vec::new() };
    let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let is_unheld = |path: &PathBuf| {
        path.is_dir() && FileLock::try_take(&path.join("lock")).is_ok_and(|lock| lock.is_some())
    };
    let mut unheld: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_unheld).collect();
    unheld.sort();
    unheld
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_dead_process_goes_with_the_next_start_and_that_of_a_living_one_stays() {
        let root = tempfile::tempdir().unwrap();
        let living = Place::take(root.path()).unwrap();
        // What a killed process leaves: its directory, and a lock that nobody holds.
        let dead = root.path().join("dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("lock"), "").unwrap();
        let next = Place::take(root.path()).unwrap();
        assert!(!dead.exists() && living.dir.exists() && next.dir.exists());
        let dir = next.dir.clone();
        next.remove().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn what_says_that_a_cluster_of_kind_is_its_own_is_kept_until_that_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::take(root.path()).unwrap();
        let dir = place.dir.clone();
        std::fs::write(dir.join("kind.json"), "{}").unwrap();
        drop(place);
        drop(Place::take(root.path()).unwrap());
        assert!(dir.exists());
        assert_eq!(unheld(root.path()), [dir]);
    }
}
