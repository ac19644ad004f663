//! The real kube-apiserver and etcd from `KUBEBUILDER_ASSETS`, started for comparison.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plexlab_harness::backend::envtest::assets::{Assets, MissingAssets, VARIABLE};
use plexlab_harness::backend::envtest::real_kube::{LoneKube, start_alone};

use crate::exit::{Failure, PREREQUISITE};

/// The directory with `kube-apiserver` and `etcd`, if the user names one.
pub fn assets() -> Option<PathBuf> {
    Assets::from_environment().ok()?;
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// Starts both in a directory of their own; they end when the answer is dropped.
pub async fn start(assets: &Path) -> Result<LoneKube, Failure> {
    let missing = |missing: MissingAssets| Failure::new(PREREQUISITE, missing.to_string());
    let assets = Assets::at(assets).map_err(missing)?;
    start_alone(assets).await.map_err(|error| Failure::new(PREREQUISITE, error.to_string()))
}

/// Starts both with an empty directory, waits until `/readyz` says so, ends both.
pub async fn time_start(assets: &Path) -> Result<Duration, Failure> {
    let server = start(assets).await?;
    let took = server.kube.took;
    // Waits for the processes' end.
    let _ = tokio::task::spawn_blocking(move || drop(server)).await;
    Ok(took)
}
