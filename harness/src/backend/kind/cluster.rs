//! The backend's cluster: made, or made earlier and kept; then attached to; deleted if it was made here.
//!
//! The stack's directory says that a cluster of this name is its own (`kind.json`) before there is one, so that a killed
//! driver leaves enough to delete it by.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plexlab_lab::{Check, TimedOut, eventually};
use serde::{Deserialize, Serialize};

use super::configuration;
use super::engine::{Engine, EngineError, find};
use super::kept::{self, Kept};
use super::tool::ToolError;
use crate::backend::attach::cluster::{AttachError, AttachedCluster};
use crate::backend::attach::ownership::ON_NODES;
use crate::backend::attach::{self};
use crate::backend::options::BackendOptions;
use crate::backend::{BackendKind, ClusterSpec, Unavailable};
use crate::machine::leftovers::carrying;
use crate::paths::write_private_file;

/// The image of the nodes: the Kubernetes version that the embedded API server is held to, by its digest.
pub const NODE_IMAGE: &str =
    "kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5";
/// How long making a cluster may take, the pull of its image included.
const MADE_WITHIN: Duration = Duration::from_secs(900);
/// How long kind waits for the nodes; a part of that.
const READY: &str = "180s";
/// How long the nodes may take after kind has made them.
const NODES_READY_WITHIN: Duration = Duration::from_secs(120);
/// How long anything else may take; loading images into three nodes is the longest.
const DONE_WITHIN: Duration = Duration::from_secs(300);
/// How long a container may take that was asked for by a kind which is no more.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// The variable of kind and of all that it starts: the directory of the stack whose cluster it is about.
const OF: &str = "PLEXLAB_KIND_OF";
/// Name of the file that says which cluster is the stack's.
const LEDGER: &str = "kind.json";
/// Name of the directory in which the nodes' logs are collected.
const NODES: &str = "nodes";
/// What the names of clusters begin with that plexlab makes.
pub const PREFIX: &str = "plexlab-";

/// The cluster could not be made. Nothing of it is left, unless it was to be kept.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// Engine or kind.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An archive of images that is to be loaded is not there.
    #[error("the archive of images {0} is not there; `cargo xtask images build` makes that of the stand-ins")]
    NoArchive(PathBuf),
    /// A cluster of this name is somebody else's, or of a living stack.
    #[error(
        "{engine} has a kind cluster `{name}` that is not this stack's; `kind delete cluster --name {name}` removes it"
    )]
    Taken {
        /// The engine.
        engine: &'static str,
        /// The cluster.
        name: String,
    },
    /// A kept cluster is not to be deleted: a stack has taken it.
    #[error("a stack has just taken the kind cluster `{0}`; it stays")]
    InUse(String),
    /// kind refused, or failed.
    #[error("{what}: {source}\n{hint}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What kind said.
        source: ToolError,
        /// What to do.
        hint: String,
    },
    /// A file of the stack's directory.
    #[error("write {what}: {source}")]
    Io {
        /// Which.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It was made, but its nodes do not become ready.
    #[error("{0}; `--keep` leaves the cluster, for a look at its nodes")]
    NotReady(#[from] TimedOut),
    /// It was made, but cannot be used.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Whether the programs are there.
///
/// # Errors
/// [`Unavailable`].
pub fn available() -> Result<(), Unavailable> {
    super::engine::look().map_err(|error| {
        let text = error.to_string();
        let (why, hint) = text.split_once("; ").unwrap_or((&text, "install them"));
        Unavailable { backend: BackendKind::Kind, why: why.to_owned(), hint: hint.to_owned() }
    })
}

/// Whether the programs work: the engine's name and kind's version, or why not.
///
/// # Errors
/// [`EngineError`].
pub async fn works() -> Result<String, EngineError> {
    let engine = find().await?;
    Ok(format!("{} answers, {}", engine.name, engine.version))
}

/// What the directory of a stack says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    /// Name of the cluster.
    cluster: String,
}

/// A cluster of kind that runs.
#[derive(Debug)]
pub struct KindCluster {
    /// The cluster, as any other.
    pub attached: AttachedCluster,
    engine: Engine,
    name: String,
    dir: PathBuf,
    kept: Option<Kept>,
}

/// Makes the cluster, or takes one that was kept, loads the images, and attaches to it.
///
/// # Errors
/// [`KindError`].
pub async fn start(spec: &ClusterSpec) -> Result<KindCluster, KindError> {
    let engine = find_for(&spec.dir).await?;
    let missing = spec.options.image_archives.iter().find(|path| !path.is_file());
    if let Some(path) = missing {
        return Err(KindError::NoArchive(path.clone()));
    }
    let there = engine
        .kind
        .run(&["get", "clusters"], DONE_WITHIN)
        .await
        .map_err(failed("list the clusters of kind"))?;
    let there: Vec<&str> = there.lines().map(str::trim).collect();
    let (name, kept) = if spec.options.keep {
        let kept = Kept::take(state(&spec.dir), spec.nodes.len(), &there);
        let kept = kept.map_err(io("the directory of a kept cluster"))?;
        (kept.name.clone(), Some(kept))
    } else {
        (format!("{PREFIX}{}", spec.stack), None)
    };
    if kept.is_none() && there.contains(&name.as_str()) {
        return Err(KindError::Taken { engine: engine.name, name });
    }
    let attached = match make(&engine, spec, &name, kept.as_ref()).await {
        Ok(options) => attach(spec, options).await,
        Err(error) => Err(error),
    };
    match attached {
        Ok(attached) => Ok(KindCluster { attached, engine, name, dir: spec.dir.clone(), kept }),
        Err(error) => {
            // One that would not go stays written down.
            if kept.is_none() && delete(&engine, &name, &spec.dir).await.is_ok() {
                let _ = forget(&spec.dir);
            }
            Err(error)
        }
    }
}

/// Attaches to the cluster, once all of its nodes are ready: kind itself waits for the first one, and not for ever.
async fn attach(spec: &ClusterSpec, options: BackendOptions) -> Result<AttachedCluster, KindError> {
    let wanted = u32::try_from(spec.nodes.len()).unwrap_or(u32::MAX);
    eventually(format!("{wanted} nodes that are ready"), NODES_READY_WITHIN, || async {
        match attach::cluster::nodes(&options).await {
            Ok(ready) if ready >= wanted => Check::Done(()),
            Ok(ready) => Check::NotYet(format!("{ready} are")),
            Err(error) => Check::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(attach::cluster::start(&ClusterSpec { options, ..spec.clone() }).await?)
}

/// The choices by which the cluster that is there now is attached to.
async fn make(
    engine: &Engine,
    spec: &ClusterSpec,
    name: &str,
    kept: Option<&Kept>,
) -> Result<BackendOptions, KindError> {
    let kubeconfig = kubeconfig(&spec.dir);
    let ledger = serde_json::to_vec(&Ledger { cluster: name.to_owned() }).unwrap_or_default();
    write_private_file(&spec.dir.join(LEDGER), &ledger).map_err(io(LEDGER))?;
    let at = kubeconfig.display().to_string();
    let options = BackendOptions {
        kubeconfig: Some(kubeconfig),
        context: Some(format!("kind-{name}")),
        // It was made here: whatever it is called, it is nobody's production.
        allow_context: Some(format!("kind-{name}")),
        ..spec.options.clone()
    };
    if kept.is_some_and(|kept| kept.is_there) {
        let arguments = ["export", "kubeconfig", "--name", name, "--kubeconfig", &at];
        engine
            .kind
            .run(&arguments, DONE_WITHIN)
            .await
            .map_err(failed("read the kubeconfig of the kept cluster"))?;
        as_new(engine, name, &options).await?;
    } else {
        let nodes = u32::try_from(spec.nodes.len()).unwrap_or(u32::MAX);
        let mounted = kept.map_or(spec.dir.as_path(), |kept| &kept.dir);
        let configuration = configuration::write(&spec.dir, mounted, nodes, None);
        let configuration = configuration.map_err(io("kind's configuration"))?;
        let (configuration, image) =
            (configuration.display().to_string(), spec.options.node_image.as_deref().unwrap_or(NODE_IMAGE));
        let mut arguments = vec!["create", "cluster", "--name", name, "--config", &configuration];
        arguments.extend(["--kubeconfig", &at, "--image", image, "--wait", READY]);
        if kept.is_some() {
            arguments.push("--retain");
        }
        engine.kind.run(&arguments, MADE_WITHIN).await.map_err(failed("make the cluster"))?;
    }
    for archive in &spec.options.image_archives {
        let archive = archive.display().to_string();
        let arguments = ["load", "image-archive", &archive, "--name", name];
        engine.kind.run(&arguments, DONE_WITHIN).await.map_err(failed("load images into the cluster"))?;
    }
    Ok(options)
}

/// The directory of all state, in which a stack's is, or a cluster's of `kube serve`.
fn state(dir: &Path) -> &Path {
    dir.parent().and_then(Path::parent).unwrap_or(dir)
}

/// Makes the nodes of a kept cluster what new ones are: without the identities of the last stack's agents, with which those
/// of this one would be nodes that its control plane does not know, and open for pods.
async fn as_new(engine: &Engine, name: &str, options: &BackendOptions) -> Result<(), KindError> {
    let nodes = engine.kind.run(&["get", "nodes", "--name", name], DONE_WITHIN).await;
    let nodes = nodes.map_err(failed("list the nodes of the kept cluster"))?;
    for node in nodes.split_whitespace() {
        let arguments = [&["exec", node, "rm", "-rf"][..], &ON_NODES].concat();
        let cleared = engine.program.run(&arguments, DONE_WITHIN).await;
        cleared.map_err(failed("clear the nodes of the kept cluster"))?;
    }
    Ok(attach::cluster::uncordon(options).await?)
}

/// What to do about what kind said.
fn hint(error: &ToolError) -> &'static str {
    let said = error.said().to_ascii_lowercase();
    let causes = [
        (
            "no space left",
            "the disk of the file named above is full; of the engine's, `docker system prune` makes room",
        ),
        (
            "could not find a log line",
            "the nodes' image does not start: `--node-image` takes one of kind's, which fits this machine's cgroups",
        ),
        ("port is already allocated", "a port is taken: `--port PORT` chooses another"),
        ("address already in use", "a port is taken: `--port PORT` chooses another"),
        ("permission denied", "this user may not use the engine: see `cargo xtask doctor`"),
        (
            "failed to pull image",
            "the image of the nodes could not be pulled: `--node-image` names one that is here",
        ),
        ("pull access denied", "there is no such image: `--node-image` names one that is here"),
        ("manifest unknown", "there is no such image: `--node-image` names one that is here"),
        ("too many open files", "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances"),
    ];
    let found = causes.iter().find(|(text, _)| said.contains(text));
    found.map_or("`--keep` leaves what there is, for a look", |(_, hint)| hint)
}

/// The programs, with the mark of a stack's directory on whatever kind starts.
async fn find_for(dir: &Path) -> Result<Engine, EngineError> {
    let mut engine = find().await?;
    engine.kind.variables.push((OF, dir.display().to_string()));
    Ok(engine)
}

/// Waits until nobody makes a container for this directory any more. A kind that was killed leaves the engine's program
/// at work, and what that makes after a deletion would stay.
async fn settled(dir: &Path) {
    let dir = dir.display().to_string();
    let settled = eventually("containers that are being made", SETTLED_WITHIN, || async {
        let mut lines = carrying(OF, &dir).into_iter();
        match lines.find(|line| line.iter().any(|word| word == "run")) {
            None => Check::Done(()),
            Some(line) => Check::NotYet(line[..line.len().min(4)].join(" ")),
        }
    });
    // Then the deletion may miss one, and it is better than none.
    if let Err(error) = settled.await {
        tracing::debug!(%error, "a container may come yet");
    }
}

/// Deletes the cluster. kind takes it out of a kubeconfig, too: that of the stack's directory, and not the user's.
async fn delete(engine: &Engine, name: &str, dir: &Path) -> Result<(), ToolError> {
    settled(dir).await;
    let kubeconfig = kubeconfig(dir).display().to_string();
    let arguments = ["delete", "cluster", "--name", name, "--kubeconfig", &kubeconfig];
    let deleted = eventually("the cluster to be gone", DONE_WITHIN, || async {
        match engine.kind.run(&arguments, DONE_WITHIN).await {
            Ok(_) => Check::Done(Ok(())),
            // Somebody who was killed had begun with it.
            Err(error) if error.said().contains("already in progress") => Check::NotYet(error.to_string()),
            Err(error) => Check::Done(Err(error)),
        }
    });
    deleted.await.unwrap_or_else(|late| {
        Err(ToolError::Late { command: format!("kind {}", arguments.join(" ")), within: late.within })
    })
}

/// Where kind writes the way to the cluster.
fn kubeconfig(dir: &Path) -> PathBuf {
    dir.join("kind.kubeconfig")
}

impl KindCluster {
    /// Collects the nodes' logs in `nodes` of the stack's directory.
    ///
    /// # Errors
    /// [`KindError`]: what kind said.
    pub async fn collect(&self) -> Result<(), KindError> {
        let to = self.dir.join(NODES).display().to_string();
        let exported =
            self.engine.kind.run(&["export", "logs", &to, "--name", &self.name], DONE_WITHIN).await;
        exported.map(drop).map_err(failed("export the nodes' logs"))
    }

    /// Deletes the cluster, or, if that is to be kept, what the stack made in it.
    ///
    /// # Errors
    /// [`KindError`]: what is left, and why.
    pub async fn stop(self) -> Result<(), KindError> {
        if let Some(kept) = self.kept {
            self.attached.stop().await.map_err(AttachError::from)?;
            forget(&self.dir)?;
            return kept.give_back().map_err(io("that the cluster can be taken again"));
        }
        self.attached.leave().await;
        delete(&self.engine, &self.name, &self.dir).await.map_err(failed("delete the cluster"))?;
        forget(&self.dir)
    }
}

/// Deletes the cluster of a stack whose driver was killed.
///
/// # Errors
/// [`KindError`]; then the stack's directory is to stay.
pub async fn clean_up_after(dir: &Path) -> Result<bool, KindError> {
    let Some(ledger) = ledger(dir) else { return Ok(false) };
    let engine = find_for(dir).await?;
    delete(&engine, &ledger.cluster, dir).await.map_err(failed("delete the cluster"))?;
    kept::forget(state(dir), &ledger.cluster).map_err(io("the directory of a kept cluster"))?;
    forget(dir)?;
    Ok(true)
}

/// The clusters that were kept and that nobody says are its own, a dead one included: their directories, named after
/// them.
pub fn kept(state: &Path) -> Vec<PathBuf> {
    let roots = ["stacks", "kube"].into_iter().filter_map(|root| std::fs::read_dir(state.join(root)).ok());
    let owners = roots.flatten().filter_map(Result::ok);
    let taken: Vec<String> = owners.filter_map(|owner| Some(ledger(&owner.path())?.cluster)).collect();
    let is_free = |dir: &PathBuf| !taken.iter().any(|name| dir.ends_with(name));
    kept::idle(state).into_iter().filter(is_free).collect()
}

/// Which cluster is the stack's of this directory.
fn ledger(dir: &Path) -> Option<Ledger> {
    serde_json::from_slice(&std::fs::read(dir.join(LEDGER)).ok()?).ok()
}

/// Deletes a cluster that was kept.
///
/// # Errors
/// [`KindError`]; then its directory is to stay.
pub async fn delete_kept(dir: &Path) -> Result<(), KindError> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Nobody takes it meanwhile.
    let held = kept::hold(dir).map_err(io("the lock of a kept cluster"))?;
    let Some(_held) = held else { return Err(KindError::InUse(name.to_owned())) };
    let engine = find_for(dir).await?;
    delete(&engine, name, dir).await.map_err(failed("delete the cluster"))?;
    kept::forget(state(dir), name).map_err(io("the directory of a kept cluster"))
}

/// Whether the directory of a stack says that it has a cluster.
pub fn has_cluster(dir: &Path) -> bool {
    dir.join(LEDGER).exists()
}

fn forget(dir: &Path) -> Result<(), KindError> {
    std::fs::remove_file(dir.join(LEDGER)).map_err(io(LEDGER))
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> KindError {
    move |source| KindError::Io { what, source }
}

fn failed(what: &'static str) -> impl FnOnce(ToolError) -> KindError {
    move |source| {
        let hint = hint(&source).to_owned();
        KindError::Failed { what, source, hint }
    }
}
