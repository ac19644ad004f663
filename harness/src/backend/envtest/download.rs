//! The real programs of a Kubernetes version, from the published index of envtest's releases: once, checked, kept.
//!
//! The index names for each version and platform an archive and its SHA-512. The archive has `etcd`, `kube-apiserver` and
//! `kubectl` below `controller-tools/envtest/`. In the cache they are below `envtest/VERSION-PLATFORM/`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest as _, Sha512};

use super::assets::{Assets, MissingAssets};
use crate::paths::create_private_dir;

/// Where the index is published.
pub const INDEX: &str =
    "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml";
/// A server that takes longer to answer is away. The archive itself, about 70 MB, may take as long as it takes.
const CONNECTS_WITHIN: Duration = Duration::from_secs(15);
/// What of an archive's file is kept.
const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];

/// The programs of this version are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It is no version.
    #[error("`{0}` is no version of Kubernetes: for example 1.36, the newest of that, or 1.36.2")]
    NoVersion(String),
    /// The index or an archive cannot be had.
    #[error(
        "get {url}: {why}; without the network, set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver"
    )]
    Away {
        /// What was asked for.
        url: String,
        /// What was seen.
        why: String,
    },
    /// The index is none.
    #[error("understand {url}: {why}")]
    Garbled {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The index has no such version for this machine.
    #[error("there is no Kubernetes {version} for {platform} in {url}; the newest is {newest}")]
    Unknown {
        /// What was asked for.
        version: String,
        /// This machine.
        platform: String,
        /// The index.
        url: String,
        /// The newest version that there is for it.
        newest: String,
    },
    /// The archive is not the one that the index speaks of.
    #[error("check {url}: its SHA-512 is {seen}, and the index says {expected}; nothing was kept")]
    Checksum {
        /// The archive.
        url: String,
        /// What came.
        seen: String,
        /// What was to come.
        expected: String,
    },
    /// The cache, or what is in the archive.
    #[error("unpack into {directory}: {source}")]
    Unpack {
        /// Where to.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The archive lacks a program.
    #[error(transparent)]
    Assets(#[from] MissingAssets),
}

/// A version as it was asked for: two or three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    minor: (u32, u32),
    patch: Option<u32>,
}

impl Wanted {
    fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u32>> =
            text.strip_prefix('v').unwrap_or(text).split('.').map(|part| part.parse().ok()).collect();
        match numbers?[..] {
            [major, minor] => Some(Self { minor: (major, minor), patch: None }),
            [major, minor, patch] => Some(Self { minor: (major, minor), patch: Some(patch) }),
            _ => None,
        }
    }

    fn fits(self, version: (u32, u32, u32)) -> bool {
        (version.0, version.1) == self.minor && self.patch.is_none_or(|patch| patch == version.2)
    }
}

fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let wanted = Wanted::parse(version)?;
    Some((wanted.minor.0, wanted.minor.1, wanted.patch?))
}

#[derive(Debug, Deserialize)]
struct Index {
    releases: BTreeMap<String, BTreeMap<String, Archive>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Archive {
    hash: String,
    self_link: String,
}

/// As the index names this machine.
fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}-{architecture}", std::env::consts::OS)
}

/// The programs of a version, from the cache or else from what `index` names. What is in the cache needs no network.
///
/// # Errors
/// [`DownloadError`]; nothing half made is left in the cache.
pub async fn programs(cache: &Path, version: &str, index: &str) -> Result<PathBuf, DownloadError> {
    let wanted = Wanted::parse(version).ok_or_else(|| DownloadError::NoVersion(version.to_owned()))?;
    let (kept, platform) = (cache.join("envtest"), platform());
    if let Some(found) = newest_kept(&kept, wanted, &platform) {
        return Ok(found);
    }
    let bytes = get(index).await?;
    let parsed: Index = serde_norway::from_slice(&bytes)
        .map_err(|error| DownloadError::Garbled { url: index.to_owned(), why: error.to_string() })?;
    let mut all: Vec<((u32, u32, u32), Archive)> = parsed
        .releases
        .iter()
        .filter_map(|(version, archives)| {
            let archive = archives.get(&format!("envtest-{version}-{platform}.tar.gz"))?;
            Some((numbers(version)?, archive.clone()))
        })
        .collect();
    all.sort_by_key(|(version, _)| *version);
    let Some((found, archive)) = all.iter().rfind(|(version, _)| wanted.fits(*version)) else {
        let newest = all.last().map_or("none".to_owned(), |(version, _)| text(*version));
        let version = version.to_owned();
        return Err(DownloadError::Unknown { version, platform, url: index.to_owned(), newest });
    };
    let bytes = get(&archive.self_link).await?;
    let seen: String = Sha512::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if seen != archive.hash {
        let (url, expected) = (archive.self_link.clone(), archive.hash.clone());
        return Err(DownloadError::Checksum { url, seen, expected });
    }
    let directory = kept.join(format!("{}-{platform}", text(*found)));
    unpack(&bytes, &kept, &directory)
        .map_err(|source| DownloadError::Unpack { directory: directory.clone(), source })?;
    Assets::at(&directory)?;
    Ok(directory)
}

fn text((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{patch}")
}

/// The newest version in the cache that fits, if it is whole.
fn newest_kept(kept: &Path, wanted: Wanted, platform: &str) -> Option<PathBuf> {
    let names = std::fs::read_dir(kept).ok()?.filter_map(Result::ok);
    let versions = names.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        numbers(name.strip_suffix(platform)?.strip_suffix('-')?)
    });
    let newest = versions.filter(|version| wanted.fits(*version)).max()?;
    let directory = kept.join(format!("{}-{platform}", text(newest)));
    Assets::at(&directory).is_ok().then_some(directory)
}

async fn get(url: &str) -> Result<Vec<u8>, DownloadError> {
    plexlab_lab::tls::install_provider();
    let away = |why: String| DownloadError::Away { url: url.to_owned(), why };
    let client = reqwest::Client::builder().connect_timeout(CONNECTS_WITHIN).build();
    let asked = async { client?.get(url).send().await?.error_for_status()?.bytes().await };
    match asked.await {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(error) => {
            let error = error.without_url();
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Err(away(format!("{error}{}", cause.unwrap_or_default())))
        }
    }
}

/// Unpacks beside the final place and moves it there, so that a directory that exists is complete.
fn unpack(bytes: &[u8], kept: &Path, directory: &Path) -> io::Result<()> {
    create_private_dir(kept)?;
    let staging = tempfile::Builder::new().prefix("unpacking-").tempdir_in(kept)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        // By name alone: where an archive wants a file to go is not asked.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if PROGRAMS.contains(&name) && entry.header().entry_type().is_file() {
            entry.unpack(staging.path().join(name))?;
        }
    }
    std::fs::rename(staging.keep(), directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use axum::Router;
    use axum::routing::get;
    use plexlab_lab::{Running, bind_loopback, serve};

    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["controller-tools/envtest/etcd", "controller-tools/envtest/kube-apiserver", "LICENSE"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(9);
            header.set_mode(0o755);
            header.set_cksum();
            builder.append_data(&mut header, name, &b"#!/bin/sh"[..]).unwrap();
        }
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut zipped, &builder.into_inner().unwrap()).unwrap();
        zipped.finish().unwrap()
    }

    /// A server of an index of three versions, whose newest has another archive than the index says; the index's URL.
    async fn published() -> (Running, String) {
        let (platform, bytes) = (platform(), archive());
        let hash: String = Sha512::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let listener = bind_loopback(([127, 0, 0, 1], 0).into()).await.unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let release = |version: &str, hash: &str| {
            format!(
                "  {version}:\n    envtest-{version}-{platform}.tar.gz:\n      hash: {hash}\n      selfLink: {host}/archive\n"
            )
        };
        let index = format!(
            "releases:\n{}{}{}",
            release("v1.35.9", &hash),
            release("v1.35.10", &hash),
            release("v1.36.0", "0000")
        );
        let router = Router::new()
            .route("/index", get(move || async move { index }))
            .route("/archive", get(move || async move { bytes }));
        (serve(listener, None, router).unwrap(), format!("{host}/index"))
    }

    #[tokio::test]
    async fn the_newest_patch_is_unpacked_once_and_then_needs_no_network() {
        let cache = tempfile::tempdir().unwrap();
        let (server, index) = published().await;
        let found = programs(cache.path(), "1.35", &index).await.unwrap();
        assert!(found.ends_with(format!("envtest/1.35.10-{}", platform())), "{}", found.display());
        let mode = std::fs::metadata(found.join("etcd")).unwrap().permissions().mode();
        assert!(mode & 0o100 != 0 && !found.join("LICENSE").exists(), "{mode:o}");
        server.stop().await;
        assert_eq!(programs(cache.path(), "v1.35.10", &index).await.unwrap(), found);
        let away = programs(cache.path(), "1.35.9", &index).await.unwrap_err().to_string();
        assert!(away.contains("KUBEBUILDER_ASSETS") && away.contains(&index), "{away}");
    }

    #[tokio::test]
    async fn another_archive_than_the_index_says_is_refused_and_not_kept() {
        let cache = tempfile::tempdir().unwrap();
        let (server, index) = published().await;
        let error = programs(cache.path(), "1.36", &index).await.unwrap_err();
        assert!(matches!(&error, DownloadError::Checksum { expected, .. } if expected == "0000"), "{error}");
        assert!(!cache.path().join("envtest").exists());
        let unknown = programs(cache.path(), "1.40", &index).await.unwrap_err().to_string();
        assert!(
            unknown.contains("no Kubernetes 1.40") && unknown.ends_with("the newest is 1.36.0"),
            "{unknown}"
        );
        server.stop().await;
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(Wanted::parse("v1.36"), Some(Wanted { minor: (1, 36), patch: None }));
        for wrong in ["", "1", "latest", "1.36.2.1", "1.x"] {
            assert_eq!(Wanted::parse(wrong), None, "{wrong}");
        }
    }
}
