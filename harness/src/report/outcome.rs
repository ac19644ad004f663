//! The outcome of scenarios, from which every report is made.

use serde::Serialize;

use crate::run::{Failure, StepRecord};
use crate::timeline::Entry;

/// How one run of one scenario ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Every claim held.
    Passed,
    /// A claim did not hold.
    Failed {
        /// Which, and what was seen.
        failure: Failure,
        /// The command that reruns it.
        rerun: String,
        /// Where its evidence is.
        evidence: Option<String>,
    },
    /// It could not run here.
    Skipped {
        /// Why not.
        reason: String,
    },
}

/// One run of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScenarioOutcome {
    /// Name of the scenario.
    pub scenario: String,
    /// Which repetition, from 1.
    pub repetition: u32,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// From the start of its stack to the end of its teardown, in seconds.
    pub seconds: f64,
    /// How long its stack took to be ready, in seconds.
    pub stack_seconds: f64,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// Everything that happened.
    #[serde(skip)]
    pub timeline: Vec<Entry>,
}

/// All outcomes of one command.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Outcomes {
    /// In the order in which they ended.
    pub scenarios: Vec<ScenarioOutcome>,
    /// From the first start to the last end, in seconds.
    pub seconds: f64,
}

impl Outcomes {
    fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        self.scenarios.iter().filter(|outcome| wanted(&outcome.verdict)).count()
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Passed))
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed { .. }))
    }

    /// How many were skipped.
    pub fn skipped(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Skipped { .. }))
    }
}
