//! What stacks whose driver was killed have left: in a cluster that goes on, and on disk.

use std::path::Path;

use crate::backend::attach;
use crate::backend::attach::ownership::Ledger;
use crate::backend::kind;
use crate::paths::Paths;
use crate::stack::record::{self, Found, RecordError};
use crate::stack::spec::StackName;

/// What is left of a stack could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemainsError {
    /// From the cluster.
    #[error("remove what the stack `{name}` left in its cluster: {source}")]
    Cluster {
        /// The stack.
        name: StackName,
        /// Why not.
        source: attach::cluster::AttachError,
    },
    /// The cluster itself.
    #[error("delete the cluster of the stack `{name}`: {source}")]
    Kind {
        /// The stack.
        name: StackName,
        /// Why not.
        source: kind::cluster::KindError,
    },
    /// From disk.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Whether the directory of a stack leads to something that is not in this process: a cluster, or objects in one.
pub fn is_elsewhere(dir: &Path) -> bool {
    Ledger::read(dir).is_some() || kind::cluster::has_cluster(dir)
}

/// Removes what a dead stack left. Does nothing when it lives, or is not there.
///
/// # Errors
/// [`RemainsError`]; then its directory stays, for the next try.
pub async fn remove(paths: &Paths, name: &StackName) -> Result<(), RemainsError> {
    if record::find(paths, name)? != Found::Dead {
        return Ok(());
    }
    let dir = paths.stack(name.as_str());
    let deleted = kind::cluster::clean_up_after(&dir).await;
    if deleted.map_err(|source| RemainsError::Kind { name: name.clone(), source })? {
        // What was made in it went with it.
        let _ = Ledger::forget(&dir);
    }
    let cleaned = attach::cluster::clean_up_after(&dir).await;
    cleaned.map_err(|source| RemainsError::Cluster { name: name.clone(), source })?;
    Ok(record::remove_dead(paths, name)?)
}

/// Removes what the dead stacks of `run` left. What cannot be removed stays for the next time: nobody asked for it by
/// name.
pub async fn remove_dead_runs(paths: &Paths) {
    for name in record::names(paths).unwrap_or_default() {
        if name.is_of_run()
            && let Err(error) = remove(paths, &name).await
        {
            tracing::debug!(%error, "a dead stack stays");
        }
    }
}
