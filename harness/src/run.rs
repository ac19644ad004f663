//! The scenario model: a run offers parties, steps that name themselves, and the timeline.
//!
//! A scenario is an async function over [`Run`]. It returns `Ok(())` when every claim held, or the [`Failure`]
//! that says what was expected, what was seen, and in which step.

use std::fmt::{self, Display};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clouds::Keeper;
use crate::stack::running::RunningStack;
use crate::timeline::Source;

/// A claim that did not hold, or a step that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step it happened in; empty before the step is known.
    pub step: String,
    /// What was expected; none when an operation failed outright.
    pub expected: Option<String>,
    /// What was seen, or the error.
    pub seen: String,
}

impl Failure {
    /// A claim that did not hold.
    pub fn expected(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { step: String::new(), expected: Some(expected.into()), seen: seen.into() }
    }

    /// An operation that failed.
    pub fn error(what: impl Display, error: impl Display) -> Self {
        Self { step: String::new(), expected: None, seen: format!("{what}: {error}") }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in step \"{}\": ", self.step)?;
        match &self.expected {
            Some(expected) => write!(f, "expected {expected}, seen {}", self.seen),
            None => f.write_str(&self.seen),
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut seen = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !seen.contains(&cause_text) {
                seen = format!("{seen}: {cause_text}");
            }
            source = cause.source();
        }
        Self { step: String::new(), expected: None, seen }
    }
}

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Who took it.
    pub party: String,
    /// What it was.
    pub name: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether its claims held.
    pub passed: bool,
}

/// One execution of one scenario.
#[derive(Debug)]
pub struct Run {
    /// The stack under test.
    pub stack: RunningStack,
    /// Where the customer of the scenario keeps secrets.
    pub keeper: Keeper,
    steps: Mutex<Vec<StepRecord>>,
    elsewhere: Mutex<Vec<Uuid>>,
}

/// Somebody who takes steps.
#[derive(Debug, Clone, Copy)]
pub struct Party<'r> {
    run: &'r Run,
    name: &'static str,
}

impl Run {
    /// A run on this stack, whose customer keeps secrets there.
    pub fn new(stack: RunningStack, keeper: Keeper) -> Self {
        Self { stack, keeper, steps: Mutex::default(), elsewhere: Mutex::default() }
    }

    /// Notes that something was made that does not go with the stack.
    pub fn made_elsewhere(&self, id: Uuid) {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// What was made so far that does not go with the stack.
    pub fn elsewhere(&self) -> Vec<Uuid> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A party of the scenario, by its role, for example `operator`.
    pub fn party(&self, name: &'static str) -> Party<'_> {
        Party { run: self, name }
    }

    /// The steps taken so far.
    pub fn steps(&self) -> Vec<StepRecord> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the stack back, with the steps that were taken.
    pub fn finish(self) -> (RunningStack, Vec<StepRecord>) {
        (self.stack, self.steps.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Party<'_> {
    /// Puts what was seen into the timeline, in the party's own words: what a reader wants to know of a run that
    /// passed.
    pub fn saw(&self, what: impl AsRef<str>) {
        self.run.stack.timeline.record(Source::Step, self.name, &format!("saw: {}", what.as_ref()));
    }

    /// Takes a step: its begin and end go into the timeline, a failure carries its name.
    ///
    /// # Errors
    /// The step's failure.
    pub async fn step<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let timeline = &self.run.stack.timeline;
        timeline.record(Source::Step, self.name, name);
        let started = Instant::now();
        let outcome = work.await;
        let seconds = rounded(started.elapsed());
        let record =
            StepRecord { party: self.name.into(), name: name.into(), seconds, passed: outcome.is_ok() };
        self.run.steps.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        outcome.map_err(|failure| {
            let step = if failure.step.is_empty() { format!("{}: {name}", self.name) } else { failure.step };
            let failure = Failure { step, ..failure };
            timeline.record(Source::Step, self.name, &format!("failed: {failure}"));
            failure
        })
    }
}

/// Seconds with the precision that a report shows.
pub fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
