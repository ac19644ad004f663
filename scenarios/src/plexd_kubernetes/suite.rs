//! Plays the scenes that the chosen statements need, all at once, on one cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::backend::standalone::{ServeSpec, Standalone, StandaloneError, start};
use plexlab_harness::images::{Component, ImageSource, Images};
use plexlab_harness::paths::Paths;
use plexlab_harness::relay::Relay;
use plexlab_harness::run::{Failure, rounded};
use serde::Serialize;
use serde_json::Value;

use super::agent::IMAGE;
use super::doors::Doors;
use super::ground::Ground;
use super::hands::Hands;
use super::ledger::{Finding, Ledger};
use super::manifests::{self, Manifests};
use super::scenes::{self, Scene};
use super::statements::STATEMENTS;
use super::ways::Ways;

/// The evidence for what a scene did not come to.
const ENDED_EARLY: &str = "the scene ended early";
/// How something is done: nothing is said of an agent that does not do it at all.
const MANNERS: [&str; 4] = ["rbac.sufficient", "http.ca", "http.tls", "mount.audit-read-only"];
/// What is not done: that holds of an agent that does nothing of the kind, and says nothing of it.
const ABSENCES: [&str; 3] = ["env.nil-outside", "config.enabled-default", "validate.disabled"];
/// The longest that a scene may take; each of its waits has a limit of its own.
const SCENE_LIMIT: Duration = Duration::from_secs(240);
/// How many scenes are played at once: enough that none waits for another's pauses.
const AT_ONCE: usize = 12;
/// The same where each pod is a container, which takes a machine longer to start than a process.
const AT_ONCE_IN_CONTAINERS: usize = 5;
/// How many nodes the cluster has; two, so that "every node" means something.
const NODES: u32 = 2;

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the agent is.
    pub images: Images,
    /// Only these statements; all when empty. An id, or the part before its dot.
    pub only: Vec<String>,
    /// What the stand-in is to do without.
    pub without: Option<String>,
    /// The manifests; the reference's own but for mutants.
    pub manifests: Manifests,
    /// What serves the Kubernetes API.
    pub backend: BackendKind,
    /// What else is chosen for the backend.
    pub choices: BackendOptions,
    /// Whether scenes with an agent are played at all.
    pub live: bool,
    /// Where clusters are.
    pub paths: Paths,
}

/// A statement, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// Its id.
    pub id: &'static str,
    /// The reference's section.
    pub section: &'static str,
    /// What it says.
    pub text: String,
    /// How it fared.
    #[serde(flatten)]
    pub finding: Finding,
    /// The command that judges it again.
    pub rerun: String,
}

/// All judged statements, in the reference's order.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    /// What the agent was.
    pub agent: String,
    /// The statements.
    pub statements: Vec<Judged>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What kind of gap is behind failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapKind {
    /// The Kubernetes half is no part of the running program.
    NotLinkedIn,
    /// An endpoint that others ask is not there.
    NoEndpoint,
    /// The documented configuration does not start it.
    Configuration,
    /// It does something else than documented.
    Behaviour,
}

impl GapKind {
    fn of(root: &str) -> Self {
        match root {
            "env.in-cluster" => Self::NotLinkedIn,
            "daemonset.live" | "daemonset.ready" => Self::NoEndpoint,
            "mount.config-documented" => Self::Configuration,
            _ => Self::Behaviour,
        }
    }

    /// In a few words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NotLinkedIn => "not linked in: the program never uses Kubernetes",
            Self::NoEndpoint => "no endpoint: nothing answers there",
            Self::Configuration => "configuration: what is documented does not start it",
            Self::Behaviour => "behaviour: it does otherwise",
        }
    }
}

/// One gap, and what comes of it.
#[derive(Debug, Clone, Serialize)]
pub struct Gap<'j> {
    /// What kind it is.
    pub kind: GapKind,
    /// The statement that shows it.
    pub root: &'j Judged,
    /// Statements that fail because of it.
    pub failed: Vec<&'static str>,
    /// Statements that could not be tried because of it.
    pub untried: Vec<&'static str>,
}

/// The suite could not be played.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// No statement has such a name.
    #[error("there is no statement `{0}`")]
    Unknown(String),
    /// The agent cannot be run in this cluster.
    #[error("plexd={plexd} cannot be run on the backend {backend}: there the suite runs {runs}")]
    Source {
        /// What was asked for.
        plexd: String,
        /// Where.
        backend: BackendKind,
        /// What can be.
        runs: &'static str,
    },
    /// No cluster.
    #[error(transparent)]
    Cluster(#[from] StandaloneError),
    /// The cluster cannot be used.
    #[error("prepare the cluster: {0}")]
    Prepare(String),
}

impl Judgement {
    /// How many fared so.
    pub fn count(&self, wanted: impl Fn(&Finding) -> bool) -> usize {
        self.statements.iter().filter(|judged| wanted(&judged.finding)).count()
    }

    /// What is behind the failures: each root with all that follows from it, in the table's order.
    pub fn gaps(&self) -> Vec<Gap<'_>> {
        let cause = |id: &str| {
            let judged = self.statements.iter().find(|judged| judged.id == id)?;
            match &judged.finding {
                Finding::Fail { cause, .. } => *cause,
                _ => None,
            }
        };
        let root = |mut id: &'static str| {
            // As long as there are statements; they do not rest on each other in circles.
            for _ in &self.statements {
                match cause(id) {
                    Some(further) => id = further,
                    None => break,
                }
            }
            id
        };
        let mut gaps: Vec<Gap<'_>> = Vec::new();
        for judged in &self.statements {
            let behind = match &judged.finding {
                Finding::Fail { .. } => root(judged.id),
                Finding::Skipped { why } => {
                    let Some(on) = why.strip_prefix("rests on ").and_then(|rest| rest.split(',').next())
                    else {
                        continue;
                    };
                    match self.statements.iter().find(|judged| judged.id == on) {
                        Some(on) => root(on.id),
                        None => continue,
                    }
                }
                Finding::Pass { .. } => continue,
            };
            let Some(index) = gaps.iter().position(|gap| gap.root.id == behind).or_else(|| {
                let root = self.statements.iter().find(|judged| judged.id == behind)?;
                gaps.push(Gap { kind: GapKind::of(behind), root, failed: Vec::new(), untried: Vec::new() });
                Some(gaps.len() - 1)
            }) else {
                continue;
            };
            let list = match judged.finding {
                Finding::Fail { .. } => &mut gaps[index].failed,
                _ => &mut gaps[index].untried,
            };
            if judged.id != behind {
                list.push(judged.id);
            }
        }
        gaps
    }

    /// The ids of those that failed by themselves, and not because of another.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = |judged: &&Judged| matches!(judged.finding, Finding::Fail { cause: None, .. });
        self.statements.iter().filter(failed).map(|judged| judged.id).collect()
    }
}

/// A statement's place in the table, wherever it comes from.
struct Entry {
    id: &'static str,
    section: &'static str,
    text: String,
    scene: Option<Scene>,
    after: Vec<&'static str>,
    unseen: Option<&'static str>,
}

fn entries() -> Vec<Entry> {
    let live = STATEMENTS.iter().map(|statement| Entry {
        id: statement.id,
        section: statement.section,
        text: statement.text.to_owned(),
        scene: Some(statement.scene),
        after: statement.after.to_vec(),
        unseen: statement.mutant.err().filter(|_| statement.scene == Scene::Unreachable),
    });
    let rows = manifests::rows();
    let whole = |object| rows.iter().find(|row| row.at == "kind" && row.object == object).map(|row| row.id);
    let still = rows.iter().map(|row| Entry {
        id: row.id,
        section: row.section,
        text: row.text.clone(),
        scene: None,
        after: whole(row.object).filter(|id| *id != row.id).into_iter().collect(),
        unseen: None,
    });
    let mut all: Vec<Entry> = live.chain(still).collect();
    let order: Vec<&str> = SECTIONS.to_vec();
    all.sort_by_key(|entry| order.iter().position(|section| *section == entry.section));
    all
}

/// The reference's sections, in its order.
const SECTIONS: [&str; 15] = [
    "KubernetesEnvironment",
    "Config",
    "PlexdNodeState CRD",
    "KubeClient interface",
    "CRDController",
    "K8sAuditLogReader",
    "TokenReviewAuthenticator",
    "HTTPTokenReviewClient",
    "Kubernetes manifests",
    "RBAC permissions",
    "DaemonSet configuration",
    "Environment variables",
    "Volume mounts",
    "Node life",
    "Bad input",
];

fn chosen(only: &[String], id: &str) -> bool {
    only.is_empty()
        || only.iter().any(|name| name == id || id.split_once('.').is_some_and(|(group, _)| group == name))
}

/// The ids of all statements.
pub fn ids() -> Vec<&'static str> {
    entries().into_iter().map(|entry| entry.id).collect()
}

/// Plays the suite. A statement that fails is a finding, not an error.
///
/// # Errors
/// [`SuiteError`].
pub async fn play(options: &Options) -> Result<Judgement, SuiteError> {
    let begun = Instant::now();
    let entries = entries();
    if let Some(unknown) = options
        .only
        .iter()
        .find(|name| !entries.iter().any(|entry| chosen(std::slice::from_ref(name), entry.id)))
    {
        return Err(SuiteError::Unknown(unknown.clone()));
    }
    let ledger = Ledger::default();
    manifests::judge(&options.manifests, &ledger);
    let wanted: Vec<&Entry> = entries.iter().filter(|entry| chosen(&options.only, entry.id)).collect();
    // What they rest on is judged as well, so that one cause is not told many times.
    let mut needed: Vec<&'static str> = wanted.iter().map(|entry| entry.id).collect();
    let mut at = 0;
    while at < needed.len() {
        let after = entries.iter().filter(|entry| entry.id == needed[at]).flat_map(|entry| &entry.after);
        let new: Vec<_> = after.filter(|id| !needed.contains(*id)).copied().collect();
        needed.extend(new);
        at += 1;
    }
    let scenes: Vec<Scene> = Scene::ALL
        .into_iter()
        .filter(|scene| entries.iter().any(|entry| entry.scene == Some(*scene) && needed.contains(&entry.id)))
        .collect();
    let findings = if options.live && !scenes.is_empty() {
        live(options, ledger, &scenes, &entries).await?
    } else {
        ledger.into_findings()
    };
    let statements = judged(&wanted, findings, options);
    let agent = options.images.source(Component::Plexd).to_string();
    Ok(Judgement { agent, statements, seconds: rounded(begun.elapsed()) })
}

fn judged(wanted: &[&Entry], findings: BTreeMap<&'static str, Finding>, options: &Options) -> Vec<Judged> {
    let failed = |id: &str| matches!(findings.get(id), Some(Finding::Fail { .. }));
    wanted
        .iter()
        .map(|entry| {
            let cause = entry.after.iter().find(|id| failed(id));
            let finding = match (findings.get(entry.id), cause) {
                // Nobody looked, and why is told elsewhere.
                (Some(Finding::Fail { evidence, .. }), Some(cause))
                    if evidence == ENDED_EARLY || MANNERS.contains(&entry.id) =>
                {
                    Finding::Skipped { why: format!("rests on {cause}, which failed") }
                }
                (Some(Finding::Pass { .. }), Some(cause)) if ABSENCES.contains(&entry.id) => {
                    Finding::Skipped { why: format!("rests on {cause}, which failed") }
                }
                (Some(Finding::Fail { expected, seen, evidence, .. }), cause) => Finding::Fail {
                    expected: expected.clone(),
                    seen: seen.clone(),
                    evidence: evidence.clone(),
                    cause: cause.copied(),
                },
                (Some(finding), _) => finding.clone(),
                (None, Some(cause)) => Finding::Skipped { why: format!("rests on {cause}, which failed") },
                (None, None) => {
                    Finding::Skipped { why: entry.unseen.unwrap_or("its scene was not played").to_owned() }
                }
            };
            Judged {
                id: entry.id,
                section: entry.section,
                text: entry.text.clone(),
                finding,
                rerun: rerun(entry.id, options),
            }
        })
        .collect()
}

fn rerun(id: &str, options: &Options) -> String {
    let mut command = format!("cargo xtask conformance plexd --check {id}");
    if !options.images.is_stand_in(Component::Plexd) {
        command.push_str(&format!(" --image plexd={}", options.images.source(Component::Plexd)));
    }
    if let Some(agent) = options.images.agent() {
        command.push_str(&format!(" --agent {}", agent.facts().name));
    }
    if options.backend != BackendKind::Embedded {
        command.push_str(&format!(" --backend {}", options.backend));
    }
    command.extend(options.choices.node_image.iter().map(|image| format!(" --node-image {image}")));
    command.extend(options.choices.image_archives.iter().map(|path| format!(" --load {}", path.display())));
    if let Some(without) = &options.without {
        command.push_str(&format!(" --without {without}"));
    }
    command
}

async fn live(
    options: &Options,
    ledger: Ledger,
    scenes: &[Scene],
    entries: &[Entry],
) -> Result<BTreeMap<&'static str, Finding>, SuiteError> {
    let (image, programs) = agent(options)?;
    let spec = ServeSpec {
        nodes: NODES,
        controllers: true,
        tokens: None,
        audit: None,
        port: 0,
        kubeconfig: None,
        programs,
        postgres: false,
        backend: options.backend,
        options: options.choices.clone(),
    };
    let cluster = start(spec, &options.paths).await?;
    let ground = prepare(&cluster, image, options, ledger).await;
    let findings = match ground {
        Ok(ground) => match all(scenes, &ground, entries).await {
            Ok(()) => Ok(ground.ledger.into_findings()),
            Err(failure) => Err(SuiteError::Prepare(failure.seen)),
        },
        Err(failure) => Err(SuiteError::Prepare(failure.seen)),
    };
    cluster.stop().await.map_err(|error| SuiteError::Prepare(error.to_string()))?;
    findings
}

/// The agent's image, and the programs behind images where those are programs of this machine.
fn agent(options: &Options) -> Result<(String, Vec<(String, PathBuf)>), SuiteError> {
    let in_containers = options.backend.has_containers();
    match options.images.source(Component::Plexd) {
        ImageSource::StandIn => Ok((IMAGE.to_owned(), Vec::new())),
        ImageSource::Bin(path) if !in_containers => {
            Ok((IMAGE.to_owned(), vec![(IMAGE.to_owned(), path.clone())]))
        }
        ImageSource::Image(reference) if in_containers => Ok((reference.clone(), Vec::new())),
        other => Err(SuiteError::Source {
            plexd: other.to_string(),
            backend: options.backend,
            runs: if in_containers { "stand-in and image:REF" } else { "stand-in and bin:PATH" },
        }),
    }
}

async fn prepare(
    cluster: &Standalone,
    image: String,
    options: &Options,
    ledger: Ledger,
) -> Result<Ground, Failure> {
    plexlab_lab::tls::install_provider();
    let file = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config.clone())?;
    let api = cluster.url().trim_start_matches("https://").parse()?;
    let (ways, hands) = match options.backend.has_containers() {
        false => (Ways::Direct, Hands::Inside),
        true => (Ways::Through(Relay::start(&client).await?), Hands::on_nodes()),
    };
    let generations = options.images.generations();
    let ground = Ground {
        client,
        doors: Doors::of(&config)?,
        config,
        api,
        ways,
        hands,
        image,
        manifests: options.manifests.clone(),
        generations,
        without: options.without.clone(),
        ledger,
    };
    install(&ground, |kind| kind != DEFINITION).await?;
    Ok(ground)
}

const DEFINITION: &str = "CustomResourceDefinition";

/// Plays the scenes: one begins before the cluster has the agent's definitions, the rest afterwards and all at once.
async fn all(scenes: &[Scene], ground: &Ground, entries: &[Entry]) -> Result<(), Failure> {
    let early = match scenes.contains(&Scene::NoDefinitions) {
        false => None,
        true => {
            let begun = scenes::before_definitions(ground).await;
            begun.map_err(|failure| ended_early(Scene::NoDefinitions, &failure, ground, entries)).ok()
        }
    };
    install(ground, |kind| kind == DEFINITION).await?;
    for kind in ["plexdnodestates", "plexdhooks"] {
        let path = format!("{}/{kind}", super::ground::GROUP);
        ground.until(&format!("{kind} to be served"), &path, |_| true).await?;
    }
    let late = async {
        if let Some(early) = early {
            early.after_definitions().await;
        }
    };
    let at_once = match ground.ways {
        Ways::Direct => AT_ONCE,
        Ways::Through(_) => AT_ONCE_IN_CONTAINERS,
    };
    let rest = stream::iter(scenes).for_each_concurrent(at_once, |scene| one(*scene, ground, entries));
    tokio::join!(late, rest);
    Ok(())
}

/// Creates those of the reference's objects whose kind is wanted, but for the DaemonSet, which has a scene of its own,
/// and the example of a Secret.
async fn install(ground: &Ground, wanted: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let kinds = |object: &Value| -> Option<&'static str> {
        Some(match object["kind"].as_str()? {
            "Namespace" => "/api/v1/namespaces",
            "CustomResourceDefinition" => "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "ServiceAccount" => "/api/v1/namespaces/plexd-system/serviceaccounts",
            "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            _ => return None,
        })
    };
    for object in ground.manifests.iter().flat_map(|(_, objects)| objects) {
        if let Some(path) = kinds(object)
            && object["kind"].as_str().is_some_and(&wanted)
        {
            ground.create(path, object).await?;
        }
    }
    Ok(())
}

/// Plays a scene; what it could not come to judge has failed for the reason why.
async fn one(scene: Scene, ground: &Ground, entries: &[Entry]) {
    let outcome = match tokio::time::timeout(SCENE_LIMIT, scene.play(ground)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::expected(format!("an end within {SCENE_LIMIT:?}"), "the scene goes on")),
    };
    if let Err(failure) = outcome {
        ended_early(scene, &failure, ground, entries);
    }
}

fn ended_early(scene: Scene, failure: &Failure, ground: &Ground, entries: &[Entry]) {
    for entry in entries.iter().filter(|entry| entry.scene == Some(scene)) {
        if !ground.ledger.has(entry.id) {
            ground.ledger.fail(entry.id, entry.text.clone(), &failure.seen, ENDED_EARLY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_what_they_rest_on_exists() {
        let entries = entries();
        let mut ids = ids();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), entries.len());
        for entry in &entries {
            for after in &entry.after {
                assert!(ids.contains(after), "{} rests on {after}", entry.id);
            }
            assert!(SECTIONS.contains(&entry.section), "{}", entry.section);
            let played = entry.scene.is_none_or(|scene| Scene::ALL.contains(&scene));
            assert!(played || entry.unseen.is_some(), "{}", entry.id);
        }
    }
}
