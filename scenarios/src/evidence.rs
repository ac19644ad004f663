//! What is kept of a run that failed: its logs, and all that a stranger needs in one file, the run's capsule.
//!
//! A capsule is data. To play it again is to play the scenario of that name again, with the programs that are given
//! then; it names none that would be run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Node, Pod, Secret, Service};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use plexlab_harness::backend::bare::digest;
use plexlab_harness::clouds::Keeper;
use plexlab_harness::images::{Component, ImageSource};
use plexlab_harness::paths::{create_private_dir, write_private_file};
use plexlab_harness::redact::Redactor;
use plexlab_harness::run::{Failure, StepRecord};
use plexlab_harness::stack::logs::copy_logs;
use plexlab_harness::stack::running::RunningStack;
use plexlab_harness::timeline::{Entry, Timeline};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::NoTls;

use crate::contract::spec::VARIABLE;
use crate::registry::Scenario;
use crate::runner::named;

/// What the file says that it is.
pub const KIND: &str = "scenario-run";
/// The form of capsules that this tool writes and reads.
pub const FORM: u32 = 1;
/// The largest that is read, in bytes.
pub const LARGEST: usize = 16 << 20;
/// Lines of each log that are kept.
const LINES: usize = 60;
/// Rows of each table, and objects of each kind.
const MOST: usize = 200;

/// A failed run as one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunCapsule {
    /// [`KIND`].
    pub kind: String,
    /// [`FORM`].
    pub form: u32,
    /// Versions of what ran.
    pub versions: BTreeMap<String, String>,
    /// SHA-256 of each program that was given.
    pub digests: BTreeMap<String, String>,
    /// The scenario's name.
    pub scenario: String,
    /// The customer's secret store.
    pub store: String,
    /// Nodes of the stack.
    pub nodes: u32,
    /// The backend.
    pub backend: String,
    /// Where each program came from, for people.
    pub images: BTreeMap<String, String>,
    /// What did not hold.
    pub failure: Failure,
    /// The steps that were taken.
    pub steps: Vec<StepRecord>,
    /// Everything that happened.
    pub timeline: Vec<Entry>,
    /// The last lines of each log.
    pub logs: BTreeMap<String, Vec<String>>,
    /// Objects of the cluster, by kind; of Secrets only the names of their keys.
    pub objects: BTreeMap<String, Vec<Value>>,
    /// Rows of the control plane's database, by table, without what is secret in them.
    pub rows: BTreeMap<String, Vec<Value>>,
    /// The command that plays it again.
    pub command: String,
}

/// Why a file is no capsule of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunCapsuleError {
    /// It cannot be read.
    #[error("is no capsule of a run: {0}")]
    Garbled(#[from] serde_json::Error),
    /// It is another form.
    #[error("is a capsule of the kind {kind:?}, form {form}; this tool reads {KIND:?}, form {FORM}")]
    Form {
        /// What it says that it is.
        kind: String,
        /// Its form.
        form: u32,
    },
}

impl RunCapsule {
    /// Whether a text says that it is one.
    pub fn is_one(text: &str) -> bool {
        #[derive(Deserialize)]
        struct Head {
            kind: String,
        }
        serde_json::from_str::<Head>(text).is_ok_and(|head| head.kind == KIND)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: &str) -> Result<Self, RunCapsuleError> {
        let capsule: Self = serde_json::from_str(text)?;
        if capsule.kind != KIND || capsule.form != FORM {
            return Err(RunCapsuleError::Form { kind: capsule.kind, form: capsule.form });
        }
        Ok(capsule)
    }
}

/// A run that failed, while its stack is still there.
#[derive(Debug)]
pub struct Failed<'r> {
    /// The scenario.
    pub scenario: &'r Scenario,
    /// The customer's secret store.
    pub keeper: Keeper,
    /// Which repetition.
    pub repetition: u32,
    /// The stack.
    pub stack: &'r RunningStack,
    /// The steps that were taken.
    pub steps: &'r [StepRecord],
    /// What did not hold.
    pub failure: &'r Failure,
    /// What happened.
    pub timeline: &'r Timeline,
    /// The command that plays it again.
    pub command: String,
}

impl Failed<'_> {
    /// Keeps the capsule and all logs, without secrets, in a directory of its own below this one; returns it.
    pub async fn keep(&self, below: &Path) -> Option<PathBuf> {
        let name = named(self.scenario, self.keeper).replace('@', "-");
        let directory = below.join(format!("{name}-{}-{}", std::process::id(), self.repetition));
        create_private_dir(&directory).ok()?;
        let redactor = &self.stack.redactor;
        if let Err(error) = self.stack.collect().await {
            let text = redactor.redact(&error.to_string()).into_owned();
            write_private_file(&directory.join("nodes-not-collected.txt"), text.as_bytes()).ok()?;
        }
        copy_logs(&self.stack.dir, &directory, redactor);
        let capsule = self.capsule(&directory).await;
        let text = serde_json::to_string_pretty(&capsule).unwrap_or_default();
        write_private_file(&directory.join("capsule.json"), redactor.redact(&text).as_bytes()).ok()?;
        Some(directory)
    }

    async fn capsule(&self, logs: &Path) -> RunCapsule {
        let spec = &self.stack.spec;
        let programs = Component::ALL.into_iter().map(|component| (component, spec.images.source(component)));
        let digests = programs.clone().filter_map(|(component, source)| match source {
            ImageSource::Bin(path) => Some((component.to_string(), digest(path)?)),
            _ => None,
        });
        let own = digest(Path::new("/proc/self/exe")).map(|digest| ("plexlab".to_owned(), digest));
        RunCapsule {
            kind: KIND.to_owned(),
            form: FORM,
            versions: versions(),
            digests: digests.chain(own).collect(),
            scenario: self.scenario.name.to_owned(),
            store: self.keeper.to_string(),
            nodes: spec.nodes,
            backend: spec.backend.to_string(),
            images: programs.map(|(component, source)| (component.to_string(), source.to_string())).collect(),
            failure: self.failure.clone(),
            steps: self.steps.to_vec(),
            timeline: self.timeline.entries(),
            logs: last_lines(logs),
            objects: objects(&self.stack.client).await,
            rows: match self.stack.addresses.dsn() {
                Some(dsn) => rows(&dsn, &self.stack.redactor).await,
                None => BTreeMap::new(),
            },
            command: self.command.clone(),
        }
    }
}

/// Versions of what a run depends on, besides the programs that are given: this tool's, the kind of machine, and the
/// digest of the OpenAPI document that exchanges are held against, if there is one.
pub fn versions() -> BTreeMap<String, String> {
    let document = std::env::var_os(VARIABLE).and_then(|path| digest(Path::new(&path)));
    [
        ("plexlab", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("machine", Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))),
        (VARIABLE, document),
    ]
    .into_iter()
    .filter_map(|(name, version)| Some((name.to_owned(), version?)))
    .collect()
}

/// The last lines of the logs in a directory, which hold no secrets.
fn last_lines(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path()).ok()?;
            let all: Vec<&str> = text.lines().collect();
            let last = all[all.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned());
            Some((entry.file_name().to_string_lossy().into_owned(), last.collect()))
        })
        .collect()
}

/// What is in the cluster. What cannot be listed is left out: the cluster may be broken on purpose.
async fn objects(client: &kube::Client) -> BTreeMap<String, Vec<Value>> {
    let mut found = BTreeMap::new();
    list::<Node>(client, "Node", &mut found).await;
    list::<Pod>(client, "Pod", &mut found).await;
    list::<Service>(client, "Service", &mut found).await;
    list::<Deployment>(client, "Deployment", &mut found).await;
    list::<DaemonSet>(client, "DaemonSet", &mut found).await;
    list::<Job>(client, "Job", &mut found).await;
    list::<Event>(client, "Event", &mut found).await;
    list::<Secret>(client, "Secret", &mut found).await;
    for secret in found.get_mut("Secret").into_iter().flatten() {
        let names = |data: &Value| data.as_object().map(|data| data.keys().cloned().collect::<Vec<_>>());
        let keys = names(&secret["data"]).unwrap_or_default();
        if let Some(secret) = secret.as_object_mut() {
            secret.remove("data");
            secret.insert("keys".to_owned(), keys.into());
        }
    }
    for (group, version, kind) in [
        ("external-secrets.io", "v1", "ExternalSecret"),
        ("external-secrets.io", "v1", "ClusterSecretStore"),
        ("external-secrets.io", "v1alpha1", "PushSecret"),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        keep(kind, api.list(&most()).await.map(|list| list.items), &mut found);
    }
    found
}

fn most() -> ListParams {
    ListParams::default().limit(u32::try_from(MOST).unwrap_or(u32::MAX))
}

async fn list<K>(client: &kube::Client, kind: &str, found: &mut BTreeMap<String, Vec<Value>>)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let api: Api<K> = Api::all(client.clone());
    keep(kind, api.list(&most()).await.map(|list| list.items), found);
}

fn keep<K: Serialize>(
    kind: &str,
    listed: Result<Vec<K>, kube::Error>,
    found: &mut BTreeMap<String, Vec<Value>>,
) {
    let values = listed.unwrap_or_default().into_iter().filter_map(|object| {
        let mut object = serde_json::to_value(object).ok()?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            // Nobody reads them, and they are longer than the rest.
            metadata.remove("managedFields");
        }
        Some(object)
    });
    found.insert(kind.to_owned(), values.collect());
}

/// Tables and what of a row is left out.
const TABLES: [(&str, &[&str]); 7] = [
    ("domains", &[]),
    ("projects", &[]),
    ("resources", &[]),
    ("bootstrap_tokens", &["token_hash", "consumed_nonce"]),
    ("nodes", &[]),
    ("peer", &[]),
    ("outbox_events", &[]),
];

/// The newest rows. What cannot be read is left out: the database may be down on purpose.
async fn rows(dsn: &str, redactor: &Redactor) -> BTreeMap<String, Vec<Value>> {
    let mut found = BTreeMap::new();
    let Ok((client, connection)) = tokio_postgres::connect(dsn, NoTls).await else { return found };
    let driver = tokio::spawn(connection);
    for (table, without) in TABLES {
        let query = format!(
            "SELECT (to_jsonb(t) - $1::text[])::text FROM plexsphere.{table} t ORDER BY id DESC LIMIT {MOST}"
        );
        let Ok(rows) = client.query(&query, &[&without]).await else { continue };
        let values = rows.iter().filter_map(|row| {
            let text: String = row.get(0);
            serde_json::from_str(&redactor.redact(&text)).ok()
        });
        found.insert(table.to_owned(), values.collect());
    }
    drop(client);
    let _ = driver.await;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capsule() -> RunCapsule {
        RunCapsule {
            kind: KIND.to_owned(),
            form: FORM,
            versions: BTreeMap::new(),
            digests: BTreeMap::new(),
            scenario: "adopt-via-eso".to_owned(),
            store: "vault".to_owned(),
            nodes: 1,
            backend: "embedded".to_owned(),
            images: BTreeMap::new(),
            failure: Failure::expected("one", "two"),
            steps: Vec::new(),
            timeline: Vec::new(),
            logs: BTreeMap::new(),
            objects: BTreeMap::new(),
            rows: BTreeMap::new(),
            command: String::new(),
        }
    }

    #[test]
    fn it_reads_back_and_what_is_none_is_refused() {
        let text = serde_json::to_string(&capsule()).unwrap();
        assert!(RunCapsule::is_one(&text));
        assert_eq!(RunCapsule::read(&text).unwrap(), capsule());
        assert!(!RunCapsule::is_one("{\"form\": 1}") && !RunCapsule::is_one("[]"));
        for (from, to) in [("\"form\":1", "\"form\":2"), ("\"nodes\":1", "\"nodes\":1,\"run\":\"id\"")] {
            assert!(RunCapsule::read(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
