//! What dead drivers, clusters and tutorials have left on this machine, found and removed.
//!
//! Everything that a stack makes is below its directory, or written down there, so the directories are the ledger; its
//! processes, ports and mounts ended with its driver. What is in use is never touched: a lock says so, or a process that
//! has the directory open.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::backend::kind;
use crate::backend::kind::cluster::KindError;
use crate::backend::standalone::{self, DeadError};
use crate::machine::leftovers::in_use;
use crate::paths::Paths;
use crate::place;
use crate::stack::record::{self, Found, RecordError};
use crate::stack::remains::{self, RemainsError};
use crate::stack::spec::StackName;

/// A stack's directory is there a moment before its lock is. What is younger and has none is left alone.
const JUST_MADE: Duration = Duration::from_secs(10);

/// What begins the names of tutorials' temporary directories.
pub const TUTORIAL: &str = "plexlab-tutorial-";

/// What something that was left over belonged to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "of")]
pub enum Owner {
    /// A stack whose driver is gone.
    Stack {
        /// Its name.
        name: StackName,
    },
    /// A cluster of `kube serve` whose process is gone.
    Cluster,
    /// A control plane without a cluster whose process is gone.
    Bare,
    /// A program or database template that was being made when its process ended.
    Cache,
    /// The shell of a tutorial.
    Tutorial,
    /// A cluster of kind that was kept (`--keep`) and that no stack is in.
    Kept,
}

/// Something left over: a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// What it belonged to.
    #[serde(flatten)]
    pub owner: Owner,
    /// The directory.
    pub path: PathBuf,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// It could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// A stack's.
    #[error(transparent)]
    Stack(#[from] RemainsError),
    /// A cluster's.
    #[error(transparent)]
    Cluster(#[from] DeadError),
    /// A kept cluster.
    #[error("delete the cluster of {path}: {source}")]
    Kept {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        source: KindError,
    },
    /// The system refused.
    #[error("remove {path}: {source}")]
    Remove {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Garbage {
    fn at(owner: Owner, path: PathBuf) -> Self {
        let (mut files, mut bytes) = (0, 0);
        let mut pending = vec![path.clone()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
                let Ok(metadata) = entry.path().symlink_metadata() else { continue };
                if metadata.is_dir() {
                    pending.push(entry.path());
                } else {
                    (files, bytes) = (files + 1, bytes + metadata.len());
                }
            }
        }
        Self { owner, path, files, bytes }
    }

    /// Removes it, unless it came to life meanwhile.
    ///
    /// # Errors
    /// [`GarbageError`].
    pub async fn remove(&self, paths: &Paths) -> Result<(), GarbageError> {
        match &self.owner {
            Owner::Stack { name } => Ok(remains::remove(paths, name).await?),
            Owner::Cluster => Ok(standalone::remove_dead(&self.path).await?),
            Owner::Kept => {
                let deleted = kind::cluster::delete_kept(&self.path).await;
                deleted.map_err(|source| GarbageError::Kept { path: self.path.clone(), source })
            }
            Owner::Bare | Owner::Cache | Owner::Tutorial => match fs::remove_dir_all(&self.path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(GarbageError::Remove { path: self.path.clone(), source })
                }
                _ => Ok(()),
            },
        }
    }
}

/// Looks for everything left over; touches nothing. `temporary` is where programs make temporary directories.
///
/// # Errors
/// [`RecordError`] when the stacks cannot be looked at.
pub fn find(paths: &Paths, temporary: &Path) -> Result<Vec<Garbage>, RecordError> {
    let mut found = Vec::new();
    for name in record::names(paths)? {
        let path = paths.stack(name.as_str());
        let dead = matches!(record::find(paths, &name)?, Found::Dead);
        if dead && (path.join("lock").exists() || !is_younger(&path, JUST_MADE)) {
            found.push(Garbage::at(Owner::Stack { name }, path));
        }
    }
    for (root, owner) in [("kube", Owner::Cluster), ("bare", Owner::Bare)] {
        let dead = place::unheld(&paths.state.join(root)).into_iter();
        found.extend(dead.map(|path| Garbage::at(owner.clone(), path)));
    }
    let unfinished = |name: &str| name.starts_with("unpacking-") || name.starts_with("initialising-");
    let unfinished = directories(&paths.cache.join("postgres"), unfinished).into_iter();
    let tutorials = directories(temporary, |name| name.starts_with(TUTORIAL)).into_iter();
    let abandoned = unfinished
        .map(|path| (Owner::Cache, path))
        .chain(tutorials.map(|path| (Owner::Tutorial, path)))
        .filter(|(_, path)| !is_younger(path, JUST_MADE) && !in_use(path));
    found.extend(abandoned.map(|(owner, path)| Garbage::at(owner, path)));
    Ok(found)
}

/// The clusters of kind that were kept. They are wanted, and garbage only to somebody who says so.
pub fn kept(paths: &Paths) -> Vec<Garbage> {
    kind::cluster::kept(&paths.state).into_iter().map(|path| Garbage::at(Owner::Kept, path)).collect()
}

/// Directories of this user with such names, in order.
fn directories(root: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let user = nix::unistd::getuid().as_raw();
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let ours = |path: &PathBuf| {
        path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user)
    };
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(&wanted));
    let mut found: Vec<PathBuf> = named.map(|entry| entry.path()).filter(ours).collect();
    found.sort();
    found
}

fn is_younger(path: &Path, than: Duration) -> bool {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < than))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::record::StackLock;

    struct Machine {
        root: tempfile::TempDir,
        paths: Paths,
    }

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let paths = Paths { state: root.path().join("state"), cache: root.path().join("cache") };
            fs::create_dir_all(root.path().join("tmp")).unwrap();
            Self { root, paths }
        }

        fn aged(&self, path: &str) -> PathBuf {
            let path = self.root.path().join(path);
            fs::create_dir_all(&path).unwrap();
            let old = std::time::SystemTime::now() - JUST_MADE * 2;
            fs::File::open(&path).unwrap().set_modified(old).unwrap();
            path
        }

        fn found(&self) -> Vec<PathBuf> {
            let found = find(&self.paths, &self.root.path().join("tmp")).unwrap();
            found.into_iter().map(|garbage| garbage.path).collect()
        }
    }

    #[tokio::test]
    async fn what_is_dead_is_found_and_removed_and_what_lives_is_not() {
        let machine = Machine::new();
        let name = |name: &str| name.parse::<StackName>().unwrap();
        let living = StackLock::take(&machine.paths, &name("living")).unwrap();
        drop(StackLock::take(&machine.paths, &name("dead")).unwrap());
        fs::write(machine.paths.stack("dead").join("stack.json"), "{").unwrap();
        // Just made by `up`, for the driver's log.
        fs::create_dir_all(machine.paths.stack("starting")).unwrap();
        let lockless = machine.aged("state/stacks/lockless");
        let unpacking = machine.aged("cache/postgres/unpacking-Abc123");
        let tutorial = machine.aged("tmp/plexlab-tutorial-Abc123");
        machine.aged("cache/postgres/template-16");
        machine.aged("tmp/somebody-elses");
        let open = machine.aged("tmp/plexlab-tutorial-open");
        let open = fs::File::open(open).unwrap();

        assert_eq!(machine.found(), [machine.paths.stack("dead"), lockless, unpacking, tutorial]);
        for garbage in find(&machine.paths, &machine.root.path().join("tmp")).unwrap() {
            garbage.remove(&machine.paths).await.unwrap();
        }
        assert_eq!(machine.found(), Vec::<PathBuf>::new());
        assert!(machine.paths.stack("living").exists() && machine.paths.stack("starting").exists());
        assert!(machine.root.path().join("tmp/plexlab-tutorial-open").exists());
        drop((living, open));
    }
}
