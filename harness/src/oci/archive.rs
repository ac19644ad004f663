//! One archive with an image for each stand-in: an OCI image layout that is also what `docker save` writes.
//!
//! ```text
//! oci-layout         the layout's version
//! index.json         an image manifest for each name
//! manifest.json      the same, for `docker load`
//! blobs/sha256/…     one layer that all share, and each image's configuration and manifest
//! ```
//!
//! The same program gives the same bytes: nothing says when or where it was made.

use std::io::{self, Write};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::program::StaticProgram;
use crate::images::Component;

/// Where the program is in the image.
pub const PROGRAM: &str = "/plexlab-fixtures";

/// An image: its name, and the stand-in that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandInImage {
    /// Reference, as manifests have it.
    pub reference: &'static str,
    /// Name of the stand-in.
    pub applet: &'static str,
}

/// All images. Postgres is always a real one, and the enrolment Job's image needs a shell: neither can be made of the
/// stand-ins' program.
pub fn all() -> Vec<StandInImage> {
    let components = Component::ALL.into_iter().filter(|component| *component != Component::Postgres);
    let components =
        components.map(|component| StandInImage { reference: component.image(), applet: component.name() });
    let clouds = crate::clouds::IMAGES.into_iter().chain(crate::flux::IMAGES);
    let clouds = clouds.map(|(reference, applet)| StandInImage { reference, applet });
    components
        .chain(clouds)
        .chain([
            StandInImage { reference: crate::backend::containers::VCLUSTER_IMAGE, applet: "vcluster" },
            StandInImage { reference: crate::relay::IMAGE, applet: "relay" },
        ])
        .collect()
}

/// Writes the archive.
///
/// # Errors
/// The writer's.
pub fn write(program: &StaticProgram, images: &[StandInImage], to: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    let layer = layer(&program.bytes)?;
    let layer_digest = digest(&layer);
    put(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, FILE)?;
    put(&mut archive, &blob(&layer_digest), &layer, FILE)?;
    let (mut manifests, mut loads) = (Vec::new(), Vec::new());
    for image in images {
        let config = config(image.applet, program.architecture, &layer_digest).to_string();
        let config_digest = digest(config.as_bytes());
        put(&mut archive, &blob(&config_digest), config.as_bytes(), FILE)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{config_digest}"), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": format!("sha256:{layer_digest}"), "size": layer.len()}],
        })
        .to_string();
        let manifest_digest = digest(manifest.as_bytes());
        put(&mut archive, &blob(&manifest_digest), manifest.as_bytes(), FILE)?;
        let tag = image.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        manifests.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{manifest_digest}"),
            "size": manifest.len(),
            "platform": {"architecture": program.architecture, "os": "linux"},
            // containerd, and with it kind, goes by the first of them.
            "annotations": {"io.containerd.image.name": image.reference, "org.opencontainers.image.ref.name": tag},
        }));
        loads.push(json!({
            "Config": blob(&config_digest),
            "RepoTags": [image.reference],
            "Layers": [blob(&layer_digest)],
        }));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    put(&mut archive, "index.json", index.to_string().as_bytes(), FILE)?;
    put(&mut archive, "manifest.json", Value::from(loads).to_string().as_bytes(), FILE)?;
    archive.into_inner()?.flush()
}

/// Permissions of ordinary files, of programs and of directories.
const FILE: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;

/// The file system: the program, who is who, and places that programs expect.
fn layer(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, mode) in [
        ("etc/", EXECUTABLE),
        ("etc/ssl/", EXECUTABLE),
        // Empty: a manifest mounts the authorities that its program is to trust.
        ("etc/ssl/certs/", EXECUTABLE),
        ("tmp/", 0o1777),
        ("var/", EXECUTABLE),
        ("var/lib/", EXECUTABLE),
        ("var/run/", EXECUTABLE),
    ] {
        let mut header = header(0, mode);
        header.set_entry_type(tar::EntryType::Directory);
        layer.append_data(&mut header, path, io::empty())?;
    }
    let people = "root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n";
    put(&mut layer, "etc/passwd", people.as_bytes(), FILE)?;
    put(&mut layer, "etc/group", b"root:x:0:\nnobody:x:65534:\n", FILE)?;
    // Names of Services are asked of the cluster's DNS, after /etc/hosts.
    put(&mut layer, "etc/nsswitch.conf", b"hosts: files dns\n", FILE)?;
    put(&mut layer, PROGRAM.trim_start_matches('/'), program, EXECUTABLE)?;
    layer.into_inner()
}

fn config(applet: &str, architecture: &str, layer_digest: &str) -> Value {
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": [PROGRAM, applet],
            "Env": ["PATH=/", "SSL_CERT_DIR=/etc/ssl/certs", format!("{}=1", plexlab_lab::IN_CONTAINER)],
            "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": format!("plexlab {applet}")},
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "plexlab images build"}],
    })
}

fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn header(size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn put<W: Write>(archive: &mut tar::Builder<W>, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    archive.append_data(&mut header(bytes.len(), mode), path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read as _;

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (path, bytes)
            })
            .collect()
    }

    fn made() -> Vec<u8> {
        let program = StaticProgram { bytes: b"a program".to_vec(), architecture: "arm64" };
        let mut archive = Vec::new();
        write(&program, &all(), &mut archive).unwrap();
        archive
    }

    /// Follows every reference of the layout as a reader of it does.
    #[test]
    fn every_image_leads_through_its_digests_to_the_program() {
        let files = files(&made());
        let parsed = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
        let by_digest = |descriptor: &Value| {
            let digest_of = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&blob(digest_of)];
            assert_eq!(
                (digest(bytes).as_str(), bytes.len() as u64),
                (digest_of, descriptor["size"].as_u64().unwrap())
            );
            bytes.clone()
        };
        let index = parsed("index.json");
        let loads = parsed("manifest.json");
        assert_eq!(index["manifests"].as_array().unwrap().len(), all().len());
        for (position, image) in all().iter().enumerate() {
            let descriptor = &index["manifests"][position];
            assert_eq!(descriptor["annotations"]["io.containerd.image.name"], image.reference);
            let manifest: Value = serde_json::from_slice(&by_digest(descriptor)).unwrap();
            let config: Value = serde_json::from_slice(&by_digest(&manifest["config"])).unwrap();
            assert_eq!(config["config"]["Entrypoint"], json!(["/plexlab-fixtures", image.applet]));
            assert_eq!(config["architecture"], "arm64");
            let layer = by_digest(&manifest["layers"][0]);
            assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
            assert_eq!(self::files(&layer)["plexlab-fixtures"], b"a program");
            assert_eq!(loads[position]["RepoTags"], json!([image.reference]));
            assert!(files.contains_key(loads[position]["Config"].as_str().unwrap()));
            assert!(files.contains_key(loads[position]["Layers"][0].as_str().unwrap()));
        }
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        assert_eq!(digest(&made()), digest(&made()));
    }
}
