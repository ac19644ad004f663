//! The outcome of scenarios, from which every report is made.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::run::{Failure, StepRecord};
use crate::timeline::Entry;

/// How one run of one scenario ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// What playing it again showed; none when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Everything that happened.
    pub timeline: Vec<Entry>,
}

/// What playing a failed scenario again showed. It stays failed, whatever that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// How often it passed then.
    pub passed: u32,
    /// The failures of the other times, in order.
    pub failures: Vec<Failure>,
}

impl Again {
    /// How often it was played again.
    pub fn played(&self) -> u32 {
        self.passed + u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }

    /// Whether it sometimes passes.
    pub fn flaky(&self) -> bool {
        self.passed > 0
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let played = self.played();
        match (self.flaky(), played) {
            (true, _) => write!(f, "flaky: passed {} of {played}", self.passed),
            (false, 1) => f.write_str("failed the one more time"),
            (false, _) => write!(f, "failed each time of {played} more"),
        }
    }
}

/// All outcomes of one command.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Outcomes {
    /// In the order of the registry, one repetition after the other.
    pub scenarios: Vec<ScenarioOutcome>,
    /// From the first start to the last end, in seconds.
    pub seconds: f64,
}

impl ScenarioOutcome {
    /// Its name with the repetition, when that is not the first.
    pub fn title(&self) -> String {
        let repetition = if self.repetition > 1 { format!(" #{}", self.repetition) } else { String::new() };
        format!("{}{repetition}", self.scenario)
    }
}

impl Outcomes {
    fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        self.scenarios.iter().filter(|outcome| wanted(&outcome.verdict)).count()
    }

    /// How many failed, but passed when they were played again.
    pub fn flaky(&self) -> usize {
        self.scenarios.iter().filter(|outcome| outcome.again.as_ref().is_some_and(Again::flaky)).count()
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
