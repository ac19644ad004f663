//! What a stack leaves on disk for later commands: its lock and its description.
//!
//! The driver holds `lock` (an open-file-description lock) as long as it lives. Others ask the kernel whether it
//! is held, without taking it, so that looking never disturbs a start.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};

use crate::paths::{Paths, create_private_dir, write_private_file};
use crate::stack::remains::is_elsewhere;
use crate::stack::running::Addresses;
use crate::stack::spec::StackName;

/// `stack.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRecord {
    /// Name of the stack.
    pub name: String,
    /// Backend that made it.
    pub backend: String,
    /// Process id of its driver.
    pub driver: u32,
    /// Number of nodes.
    pub nodes: u32,
    /// Image sources that are not the stand-ins, `NAME=SOURCE`.
    pub images: Vec<String>,
    /// When it was started.
    pub started: Timestamp,
    /// Milliseconds from start to ready.
    pub ready_after_ms: u64,
    /// Where its parts answer.
    pub addresses: Addresses,
}

/// State of a stack's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Nothing,
    /// Its driver lives and it is ready.
    Running(Box<StackRecord>),
    /// Its driver lives, but it is not ready (yet, or any more).
    Busy,
    /// Its driver is gone; only files are left.
    Dead,
}

/// A stack's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not readable or writable.
    #[error(
        "use the state directory {path}: {source}; set PLEXLAB_STATE_DIR to a directory you may write to"
    )]
    Unusable {
        /// What could not be used.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `stack.json` is not what this version writes.
    #[error("read {path}: {source}; `cargo xtask down --name {name}` removes the stack")]
    Garbled {
        /// The file.
        path: PathBuf,
        /// Name of the stack.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The name is taken by a running stack.
    #[error(
        "a stack named `{name}` runs already; `cargo xtask down --name {name}` ends it, `--name OTHER` starts one beside it"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// A dead stack of this name has something in a cluster, which only its files lead to.
    #[error(
        "the stack `{name}` was killed and has left its cluster, or objects in one; `cargo xtask down --name {name}` removes them"
    )]
    Attached {
        /// The name.
        name: String,
    },
}

/// A stack's directory, held by this process.
#[derive(Debug)]
pub struct StackLock {
    dir: PathBuf,
    _lock: FileLock,
}

impl StackLock {
    /// Takes the directory of a stack; what a dead one left there is removed.
    ///
    /// # Errors
    /// [`RecordError::Taken`] when a stack of this name runs, [`RecordError::Unusable`] when the directory cannot
    /// be used.
    pub fn take(paths: &Paths, name: &StackName) -> Result<Self, RecordError> {
        let _turn = turn(paths)?;
        Self::take_in_turn(paths, name)
    }

    fn take_in_turn(paths: &Paths, name: &StackName) -> Result<Self, RecordError> {
        let dir = paths.stack(name.as_str());
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| RecordError::Unusable { path, source }
        };
        create_private_dir(&dir).map_err(unusable(&dir))?;
        let path = dir.join("lock");
        let lock = FileLock::try_take(&path).map_err(unusable(&path))?;
        let Some(lock) = lock else { return Err(RecordError::Taken { name: name.to_string() }) };
        if is_elsewhere(&dir) {
            return Err(RecordError::Attached { name: name.to_string() });
        }
        clear(&dir).map_err(unusable(&dir))?;
        let pid = format!("{}\n", std::process::id());
        lock.0.set_len(0).and_then(|()| (&lock.0).write_all(pid.as_bytes())).map_err(unusable(&path))?;
        Ok(Self { dir, _lock: lock })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says that the stack is ready, and where.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, record: &StackRecord) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        write_private_file(&self.dir.join("stack.json"), &text)
    }

    /// Removes the directory and lets go of the name.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove_dir(self) -> io::Result<()> {
        clear(&self.dir)?;
        // The lock goes last: nobody else may take a half-removed directory.
        std::fs::remove_dir_all(&self.dir)
    }
}

/// Directories of stacks are made, and those of dead ones removed, one at a time: one that is being made and has no
/// lock yet must not be taken for a dead one's.
fn turn(paths: &Paths) -> Result<FileLock, RecordError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| RecordError::Unusable { path, source }
    };
    create_private_dir(&paths.state).map_err(unusable(&paths.state))?;
    let path = paths.state.join("stacks.lock");
    FileLock::wait(&path).map_err(unusable(&path))
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// An exclusive lock on a file, which the kernel gives back when this is dropped or the process ends in any way.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Takes the lock, or says by `None` that another process (or another part of this one) holds it.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open_lock(path)?;
        Ok(fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())).is_ok().then_some(Self(file)))
    }

    /// Waits until the lock is free. For locks that are held for moments only.
    pub(crate) fn wait(path: &Path) -> io::Result<Self> {
        let file = open_lock(path)?;
        fcntl(&file, FcntlArg::F_OFD_SETLKW(&whole_file()))?;
        Ok(Self(file))
    }
}

/// An exclusive lock on a whole file.
fn whole_file() -> nix::libc::flock {
    // SAFETY: flock is a plain C structure for which all zeroes is a valid value.
    let mut lock: nix::libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = nix::libc::F_WRLCK as nix::libc::c_short;
    lock.l_whence = nix::libc::SEEK_SET as nix::libc::c_short;
    lock
}

/// Removes all but the lock and the driver's log (which the driver is writing).
fn clear(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == "lock" || entry.file_name() == "driver.log" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Looks at a stack's directory without touching it.
///
/// # Errors
/// [`RecordError`] when it cannot be read.
pub fn find(paths: &Paths, name: &StackName) -> Result<Found, RecordError> {
    let dir = paths.stack(name.as_str());
    let lock = dir.join("lock");
    let file = match File::open(&lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(if dir.exists() { Found::Dead } else { Found::Nothing });
        }
        Err(source) => return Err(RecordError::Unusable { path: lock, source }),
    };
    let mut holder = whole_file();
    let asked = fcntl(&file, FcntlArg::F_OFD_GETLK(&mut holder));
    if asked.is_ok() && i32::from(holder.l_type) == nix::libc::F_UNLCK {
        return Ok(Found::Dead);
    }
    let path = dir.join("stack.json");
    match std::fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Found::Running(Box::new(record))),
            Err(source) => Err(RecordError::Garbled { path, name: name.to_string(), source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Busy),
        Err(source) => Err(RecordError::Unusable { path, source }),
    }
}

/// Process id of the driver that took the stack's directory; none when there is none.
///
/// # Errors
/// [`RecordError::Unusable`] when the lock cannot be read.
pub fn driver(paths: &Paths, name: &StackName) -> Result<Option<u32>, RecordError> {
    let path = paths.stack(name.as_str()).join("lock");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Unusable { path, source }),
    }
}

/// The names of all stacks that have a directory, in order.
///
/// # Errors
/// [`RecordError::Unusable`] when the directory of stacks cannot be read.
pub fn names(paths: &Paths) -> Result<Vec<StackName>, RecordError> {
    let path = paths.stacks();
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RecordError::Unusable { path, source }),
    };
    let mut names: Vec<StackName> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
        .collect();
    names.sort();
    Ok(names)
}

/// Removes what a dead stack left. Does nothing when it lives.
///
/// # Errors
/// [`RecordError::Unusable`] when something cannot be removed.
pub fn remove_dead(paths: &Paths, name: &StackName) -> Result<(), RecordError> {
    let _turn = turn(paths)?;
    match StackLock::take_in_turn(paths, name) {
        Ok(lock) => {
            let path = lock.dir.clone();
            lock.remove_dir().map_err(|source| RecordError::Unusable { path, source })
        }
        Err(RecordError::Taken { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dead_runs_are_removed_and_neither_living_ones_nor_named_stacks() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths(root.path());
        let names = ["run-1-1", "run-2-1", "dev"].map(|name| name.parse::<StackName>().unwrap());
        drop(StackLock::take(&paths, &names[0]).unwrap());
        let living = StackLock::take(&paths, &names[1]).unwrap();
        drop(StackLock::take(&paths, &names[2]).unwrap());
        crate::stack::remains::remove_dead_runs(&paths).await;
        assert_eq!(find(&paths, &names[0]).unwrap(), Found::Nothing);
        assert_eq!(find(&paths, &names[1]).unwrap(), Found::Busy);
        assert_eq!(find(&paths, &names[2]).unwrap(), Found::Dead);
        drop(living);
    }

    fn paths(root: &Path) -> Paths {
        Paths { state: root.join("state"), cache: root.join("cache") }
    }

    fn record() -> StackRecord {
        StackRecord {
            name: "dev".into(),
            backend: "embedded".into(),
            driver: 1,
            nodes: 1,
            images: Vec::new(),
            started: Timestamp::UNIX_EPOCH,
            ready_after_ms: 1,
            addresses: Addresses {
                kubernetes: "https://127.0.0.1:1".into(),
                control_plane: "http://127.0.0.1:2".into(),
                vault: "http://127.0.0.1:3".into(),
                postgres: Some("127.0.0.1:4".into()),
                clouds: std::collections::BTreeMap::new(),
                internet: None,
                detours: std::collections::BTreeMap::new(),
                git_server: None,
            },
        }
    }

    #[test]
    fn a_stack_is_nothing_then_busy_then_running_then_dead_then_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (paths, name) = (paths(root.path()), "dev".parse().unwrap());
        assert_eq!(find(&paths, &name).unwrap(), Found::Nothing);
        let lock = StackLock::take(&paths, &name).unwrap();
        assert_eq!(find(&paths, &name).unwrap(), Found::Busy);
        lock.write(&record()).unwrap();
        assert_eq!(find(&paths, &name).unwrap(), Found::Running(Box::new(record())));
        assert!(matches!(StackLock::take(&paths, &name), Err(RecordError::Taken { .. })));
        assert_eq!(driver(&paths, &name).unwrap(), Some(std::process::id()));
        drop(lock);
        assert_eq!(find(&paths, &name).unwrap(), Found::Dead);
        assert_eq!(names(&paths).unwrap(), std::slice::from_ref(&name));
        remove_dead(&paths, &name).unwrap();
        assert_eq!(find(&paths, &name).unwrap(), Found::Nothing);
    }

    #[test]
    fn a_garbled_record_says_how_to_get_rid_of_it() {
        let root = tempfile::tempdir().unwrap();
        let (paths, name) = (paths(root.path()), "dev".parse().unwrap());
        let lock = StackLock::take(&paths, &name).unwrap();
        std::fs::write(lock.dir().join("stack.json"), "{").unwrap();
        let message = find(&paths, &name).unwrap_err().to_string();
        assert!(message.contains("cargo xtask down --name dev"), "{message}");
    }
}
