//! Takes a snapshot of a running stack.

use std::path::Path;
use std::time::Instant;

use super::freeze::freeze;
use super::kept::{self, SnapshotError, SnapshotRecord};
use super::moved;
use crate::images::Component;
use crate::stack::running::RunningStack;

/// Writes a snapshot of the stack into `directory`, which must not exist. The stack's processes stand still while its
/// volumes are copied, some tenths of a second, and then go on.
///
/// # Errors
/// [`SnapshotError`]; then nothing is left of it.
pub async fn take(stack: &RunningStack, directory: &Path) -> Result<SnapshotRecord, SnapshotError> {
    if directory.exists() {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(SnapshotError::Taken(name));
    }
    let taken = take_into(stack, directory).await;
    if taken.is_err() {
        // Why it failed matters more than what it left.
        let _ = std::fs::remove_dir_all(directory);
    }
    taken
}

async fn take_into(stack: &RunningStack, directory: &Path) -> Result<SnapshotRecord, SnapshotError> {
    let Some(cluster) = stack.embedded() else {
        return Err(SnapshotError::Backend(stack.spec.backend.to_string()));
    };
    if let Some(url) = stack.spec.images.remote_control_plane() {
        return Err(SnapshotError::Elsewhere(url.to_owned()));
    }
    let begun = Instant::now();
    let frozen = freeze(|| cluster.processes()).await?;
    let objects = cluster.objects();
    let (from, to, pods) = (stack.dir.join("kubelet"), directory.join("kubelet"), moved::pod_uids(&objects));
    crate::paths::create_private_dir(&to).map_err(kept::unusable(&to))?;
    let copied = tokio::task::spawn_blocking(move || kept::copy_volumes(&from, &to, &pods)).await;
    drop(frozen);
    let stood_still = begun.elapsed();
    let bytes = match copied {
        Ok(bytes) => bytes?,
        Err(panic) => return Err(kept::unusable(directory)(std::io::Error::other(panic))),
    };
    let images = Component::ALL
        .into_iter()
        .filter(|component| !stack.spec.images.is_stand_in(*component))
        .map(|component| format!("{component}={}", stack.spec.images.source(component)))
        .collect();
    let record = kept::record(&stack.spec, images, cluster.block(), &objects, (bytes, stood_still));
    kept::write(directory, &record, &objects)?;
    Ok(record)
}
