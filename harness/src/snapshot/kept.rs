//! Snapshots on disk. They hold the stack's secrets, so they are as private as a stack's own directory.
//!
//! ```text
//! <state>/snapshots/<name>/    0700
//! ├── snapshot.json            what it is of; written last, so a directory without it is no snapshot
//! ├── objects.json             all objects of the Kubernetes API
//! └── kubelet/                 volumes
//!     ├── nodes/<node>/        hostPath volumes of each node
//!     ├── claims/              persistent volume claims
//!     └── pods/<uid>/volumes/  emptyDir volumes, the database's files among them
//! ```

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use plexlab_apiserver::Snapshot;
use serde::{Deserialize, Serialize};

use super::copy::{self, CopyError};
use super::moved;
use crate::clouds::Clouds;
use crate::paths::{Paths, create_private_dir, write_private_file};
use crate::stack::spec::{StackName, StackSpec};

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// `snapshot.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Format of the directory.
    pub format: u32,
    /// The stack that it was taken of.
    pub stack: String,
    /// When.
    pub taken: Timestamp,
    /// The nodes' names, in the order of their addresses.
    pub nodes: Vec<String>,
    /// Image sources that are not the stand-ins, `NAME=SOURCE`.
    pub images: Vec<String>,
    /// Clouds that the stack has.
    #[serde(default)]
    pub clouds: Clouds,
    /// Second octet of the stack's addresses.
    pub block: u8,
    /// Number of objects.
    pub objects: usize,
    /// Bytes in volumes.
    pub volume_bytes: u64,
    /// Milliseconds for which the stack's processes stood still.
    pub frozen_ms: u64,
}

/// A snapshot cannot be taken, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The stack's backend cannot.
    #[error("take a snapshot of the stack: only stacks of the embedded backend can, this one is of {0}")]
    Backend(String),
    /// What counts most is elsewhere.
    #[error(
        "take a snapshot of the stack: its control plane runs elsewhere, at {0}, and what it knows would not be in it"
    )]
    Elsewhere(String),
    /// The processes did not stand still.
    #[error(transparent)]
    Freeze(#[from] plexlab_lab::TimedOut),
    /// A volume could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A file or directory cannot be used.
    #[error("use {path}: {source}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The name is taken.
    #[error("a snapshot named `{0}` is there already; `cargo xtask snapshot delete {0}` removes it")]
    Taken(String),
    /// There is none of this name.
    #[error("there is no snapshot named `{0}`; `cargo xtask snapshot list` shows all")]
    Unknown(String),
    /// It is not what this version writes.
    #[error("read {path}: {why}; `cargo xtask snapshot delete` removes it")]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

pub(super) fn unusable(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Unusable { path, source }
}

/// The directory of a snapshot.
pub fn directory(paths: &Paths, name: &StackName) -> PathBuf {
    paths.state.join("snapshots").join(name.as_str())
}

/// Copies the volumes that are worth keeping from one kubelet's directory to another's. Returns their bytes.
pub(crate) fn copy_volumes(from: &Path, to: &Path, pods: &[String]) -> Result<u64, CopyError> {
    let mut bytes = 0;
    for part in ["nodes", "claims"] {
        bytes += copy::tree(&from.join(part), &to.join(part))?;
    }
    for uid in pods {
        let part = Path::new("pods").join(uid).join("volumes");
        if from.join(&part).is_dir() {
            bytes += copy::tree(&from.join(&part), &to.join(&part))?;
        }
    }
    Ok(bytes)
}

/// Writes everything but the volumes.
pub(super) fn write(
    directory: &Path,
    record: &SnapshotRecord,
    objects: &Snapshot,
) -> Result<(), SnapshotError> {
    create_private_dir(directory).map_err(unusable(directory))?;
    let encode = |path: &Path, bytes: serde_json::Result<Vec<u8>>| {
        let bytes = bytes.map_err(|error| unusable(path)(error.into()))?;
        write_private_file(path, &bytes).map_err(unusable(path))
    };
    encode(&directory.join("objects.json"), serde_json::to_vec(objects))?;
    encode(&directory.join("snapshot.json"), serde_json::to_vec_pretty(record))
}

/// What a snapshot is of.
///
/// # Errors
/// [`SnapshotError::Unknown`] when there is none, [`SnapshotError::Garbled`] when it is not what this version writes.
pub fn read(directory: &Path) -> Result<SnapshotRecord, SnapshotError> {
    let path = directory.join("snapshot.json");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(SnapshotError::Unknown(name));
        }
        Err(source) => return Err(SnapshotError::Unusable { path, source }),
    };
    let garbled = |why: String| SnapshotError::Garbled { path: path.clone(), why };
    let record: SnapshotRecord =
        serde_json::from_slice(&bytes).map_err(|error| garbled(error.to_string()))?;
    if record.format == FORMAT {
        Ok(record)
    } else {
        Err(garbled(format!("its format is {}, this version reads {FORMAT}", record.format)))
    }
}

/// The objects of a snapshot.
///
/// # Errors
/// [`SnapshotError`].
pub fn read_objects(directory: &Path) -> Result<Snapshot, SnapshotError> {
    let path = directory.join("objects.json");
    let bytes = std::fs::read(&path).map_err(unusable(&path))?;
    // The parser's message could quote a secret.
    serde_json::from_slice(&bytes).map_err(|error| SnapshotError::Garbled {
        path,
        why: format!("line {} column {} is not as expected", error.line(), error.column()),
    })
}

/// A snapshot's name, and what it is of, if it can be read.
pub type Listed = (StackName, Result<SnapshotRecord, SnapshotError>);

/// All snapshots by name.
///
/// # Errors
/// [`SnapshotError`] when they cannot be listed; one that cannot be read is an entry of its own.
pub fn list(paths: &Paths) -> Result<Vec<Listed>, SnapshotError> {
    let root = paths.state.join("snapshots");
    let entries = match std::fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SnapshotError::Unusable { path: root, source }),
    };
    let names = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Listed> =
        names.map(|name: StackName| (name.clone(), read(&directory(paths, &name)))).collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(found)
}

/// Removes a snapshot, complete or not.
///
/// # Errors
/// [`SnapshotError::Unknown`] when there is none.
pub fn delete(paths: &Paths, name: &StackName) -> Result<(), SnapshotError> {
    let path = directory(paths, name);
    match std::fs::remove_dir_all(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(SnapshotError::Unknown(name.to_string()))
        }
        Err(source) => Err(SnapshotError::Unusable { path, source }),
    }
}

/// The record of a snapshot that is being written.
pub(super) fn record(
    spec: &StackSpec,
    images: Vec<String>,
    block: u8,
    objects: &Snapshot,
    (volume_bytes, frozen): (u64, std::time::Duration),
) -> SnapshotRecord {
    SnapshotRecord {
        format: FORMAT,
        stack: spec.name.to_string(),
        taken: Timestamp::now(),
        nodes: moved::nodes(objects),
        images,
        clouds: spec.clouds.clone(),
        block,
        objects: objects.collections.values().map(Vec::len).sum(),
        volume_bytes,
        frozen_ms: u64::try_from(frozen.as_millis()).unwrap_or(u64::MAX),
    }
}
