//! The single record of a run: who did what, in one order, by one clock.
//!
//! Everything lands here: scenario steps, HTTP exchanges at the control plane, Kubernetes events and
//! object changes, row changes, process starts and exits. Ordering claims are assertions over it.
//! Texts are redacted on the way in, so nothing read from a timeline can leak.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::redact::Redactor;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The harness itself: phases of a stack.
    Stack,
    /// A step of the scenario, by a party.
    Step,
    /// A request at the control plane and its answer.
    Http,
    /// An event or a change of an object in the cluster.
    Kubernetes,
    /// A row written in the control plane's database.
    Row,
    /// A process that started or ended.
    Process,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// What kind of thing.
    pub source: Source,
    /// Who or what: a party, a component, `pod plexsphere-system/plexd-x`.
    pub actor: String,
    /// What happened, in one line.
    pub what: String,
    /// Details worth asserting on, for example `code: token_consumed`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// The record. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    entries: Arc<Mutex<Vec<Entry>>>,
    redactor: Redactor,
}

impl Timeline {
    /// An empty record whose texts pass through `redactor`.
    pub fn new(redactor: Redactor) -> Self {
        Self { entries: Arc::default(), redactor }
    }

    /// Adds what happens now.
    pub fn record(&self, source: Source, actor: &str, what: &str) {
        self.add(Entry {
            at: Timestamp::now(),
            source,
            actor: actor.to_owned(),
            what: what.to_owned(),
            fields: BTreeMap::new(),
        });
    }

    /// Adds an entry with its own time.
    pub fn add(&self, mut entry: Entry) {
        entry.actor = self.redactor.redact(&entry.actor).into_owned();
        entry.what = self.redactor.redact(&entry.what).into_owned();
        for value in entry.fields.values_mut() {
            *value = self.redactor.redact(value).into_owned();
        }
        self.lock().push(entry);
    }

    /// All entries so far in order of time; entries of the same instant keep the order of arrival.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = self.lock().clone();
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_of_time_and_without_secrets() {
        let redactor = Redactor::default();
        redactor.register("correct horse battery");
        let timeline = Timeline::new(redactor);
        timeline.record(Source::Step, "operator", "push correct horse battery");
        timeline.add(Entry {
            at: Timestamp::UNIX_EPOCH,
            source: Source::Http,
            actor: "control-plane".into(),
            what: "POST /v1/register".into(),
            fields: BTreeMap::from([("token".into(), "correct horse battery".into())]),
        });
        let entries = timeline.entries();
        assert_eq!(entries[0].source, Source::Http);
        assert!(!serde_json::to_string(&entries).unwrap().contains("horse"));
    }
}
