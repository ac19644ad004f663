//! What the checks found, by statement.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// How a statement fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Finding {
    /// It holds.
    Pass {
        /// What showed it.
        evidence: String,
    },
    /// It does not.
    Fail {
        /// What the reference says.
        expected: String,
        /// What was seen.
        seen: String,
        /// Where to look further, for example the agent's last lines.
        evidence: String,
        /// The failed statement that it follows from, if it does.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'static str>,
    },
    /// It could not be tried.
    Skipped {
        /// Why not.
        why: String,
    },
}

/// Collects findings. The first for a statement stands.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<&'static str, Finding>>);

impl Ledger {
    fn add(&self, id: &'static str, finding: Finding) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert(finding);
    }

    /// The statement holds.
    pub fn pass(&self, id: &'static str, evidence: impl Into<String>) {
        self.add(id, Finding::Pass { evidence: evidence.into() });
    }

    /// It does not.
    pub fn fail(
        &self,
        id: &'static str,
        expected: impl Into<String>,
        seen: impl Into<String>,
        evidence: &str,
    ) {
        let evidence = evidence.to_owned();
        self.add(id, Finding::Fail { expected: expected.into(), seen: seen.into(), evidence, cause: None });
    }

    /// It could not be tried.
    pub fn skip(&self, id: &'static str, why: impl Into<String>) {
        self.add(id, Finding::Skipped { why: why.into() });
    }

    /// Whether it was judged.
    pub fn has(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// All findings.
    pub fn into_findings(self) -> BTreeMap<&'static str, Finding> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
