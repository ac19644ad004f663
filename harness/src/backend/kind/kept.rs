//! Clusters that outlive their stacks (`--keep`): a pool, from which the next stack that keeps its cluster takes one.
//!
//! ```text
//! kept/
//! ├── lock                     one lock for coming and going
//! └── plexlab-kept-3-1/        the first of three nodes; the directory's name is the cluster's
//!     ├── audit/               what its nodes mount
//!     ├── lock                 held as long as somebody's stack is in it
//!     └── ready                there while it is whole, and nothing of anybody is in it
//! ```
//!
//! One that is not ready is not taken: its making failed and it was left for a look, or its driver was killed. The first
//! stays until somebody deletes it, the second goes with what the driver left.

use std::io;
use std::path::{Path, PathBuf};

use super::cluster::PREFIX;
use crate::paths::{create_private_dir, write_private_file};
use crate::place;
use crate::stack::record::FileLock;

/// Name of the pool's directory below the directory of all state.
const POOL: &str = "kept";
/// Name of the file that says that a cluster can be taken.
const READY: &str = "ready";

/// A cluster of the pool, held by this process.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its name.
    pub(super) name: String,
    /// Its directory, which lasts as long as it.
    pub(super) dir: PathBuf,
    /// Whether there is a cluster already; otherwise it is to be made.
    pub(super) is_there: bool,
    _lock: FileLock,
}

impl Kept {
    /// Takes the first that is free, ready and of so many nodes, or the first name for one that is to be made. `there`
    /// are the clusters that kind knows.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn take(state: &Path, nodes: usize, there: &[&str]) -> io::Result<Self> {
        let pool = state.join(POOL);
        create_private_dir(&pool)?;
        let _turn = FileLock::wait(&pool.join("lock"))?;
        for number in 1_u32.. {
            let name = format!("{PREFIX}kept-{nodes}-{number}");
            let (dir, is_there) = (pool.join(&name), there.contains(&name.as_str()));
            // Without the mark it is for a look, or of a driver that was killed; without the directory somebody else's.
            if is_there && !dir.join(READY).exists() {
                continue;
            }
            create_private_dir(&dir)?;
            let Some(lock) = FileLock::try_take(&dir.join("lock"))? else { continue };
            removed(std::fs::remove_file(dir.join(READY)))?;
            return Ok(Self { name, dir, is_there, _lock: lock });
        }
        Err(io::Error::other("there is no name left"))
    }

    /// Says that the cluster is whole and that nothing of this stack is in it any more.
    ///
    /// # Errors
    /// The system's; then nobody takes it.
    pub(super) fn give_back(self) -> io::Result<()> {
        write_private_file(&self.dir.join(READY), b"")
    }
}

/// The directories of the clusters that nobody's stack is in, in order; each is named after its cluster.
pub(super) fn idle(state: &Path) -> Vec<PathBuf> {
    place::unheld(&state.join(POOL))
}

/// Holds a cluster, so that no stack takes it; none when one is in it.
///
/// # Errors
/// The system's.
pub(super) fn hold(dir: &Path) -> io::Result<Option<FileLock>> {
    FileLock::try_take(&dir.join("lock"))
}

/// Takes the directory of a cluster away that is deleted, if it was one of the pool.
///
/// # Errors
/// The system's.
pub(super) fn forget(state: &Path, name: &str) -> io::Result<()> {
    removed(std::fs::remove_dir_all(state.join(POOL).join(name)))
}

fn removed(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_taken_when_it_is_free_ready_and_of_so_many_nodes() {
        let state = tempfile::tempdir().unwrap();
        let take = |nodes, there: &[&str]| Kept::take(state.path(), nodes, there).unwrap();
        let seen = |kept: &Kept| (kept.name.clone(), kept.is_there);
        let (one, two) = ("plexlab-kept-3-1".to_owned(), "plexlab-kept-3-2".to_owned());

        let first = take(3, &[]);
        assert_eq!(seen(&first), (one.clone(), false));
        let beside = take(3, &[&one]);
        assert_eq!(seen(&beside), (two.clone(), false), "two at once do not share one");
        assert_eq!(idle(state.path()), Vec::<PathBuf>::new());
        first.give_back().unwrap();
        assert_eq!(seen(&take(1, &[&one])), ("plexlab-kept-1-1".to_owned(), false));
        let dir = state.path().join("kept").join(&one);
        let held = hold(&dir).unwrap().unwrap();
        assert_eq!(take(3, &[&one, &two]).name, "plexlab-kept-3-3", "one that is being deleted is not taken");
        drop(held);
        let again = take(3, &[&one, &two]);
        assert_eq!(seen(&again), (one.clone(), true));
        assert!(hold(&dir).unwrap().is_none(), "a stack is in it");

        // Killed, both of them: what is in them is nobody's to take, until the clusters are deleted.
        drop((again, beside));
        assert_eq!(seen(&take(3, &[&one, &two])), ("plexlab-kept-3-3".to_owned(), false));
        assert_eq!(seen(&take(3, &[&two])), (one.clone(), false));
        assert!(idle(state.path()).contains(&state.path().join("kept").join(&two)));
        forget(state.path(), &two).unwrap();
        assert!(!state.path().join("kept").join(&two).exists());
        forget(state.path(), "plexlab-dev").unwrap();
    }

    #[test]
    fn a_cluster_of_another_directory_of_state_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let kept = Kept::take(state.path(), 2, &["plexlab-kept-2-1"]).unwrap();
        assert_eq!((kept.name.as_str(), kept.is_there), ("plexlab-kept-2-2", false));
    }

    #[test]
    fn one_that_somebody_deleted_is_made_anew() {
        let state = tempfile::tempdir().unwrap();
        Kept::take(state.path(), 2, &[]).unwrap().give_back().unwrap();
        let kept = Kept::take(state.path(), 2, &[]).unwrap();
        assert_eq!((kept.name.as_str(), kept.is_there), ("plexlab-kept-2-1", false));
    }
}
