//! A failing run as one file, and its replay.
//!
//! A capsule is data: a scenario of this tool by name, its size, and a schedule. Replaying it runs the simulation, or
//! this tool's own stand-ins ([`Live`]), and nothing else; it names no program, no path and no address that would be
//! used, and unknown fields are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkers::{self, Violation};
use crate::explore::{Failure, minimise, replay};
use crate::history::{Entry, History};
use crate::scenario::{Options, Scenario, find};
use crate::sim::choice::Choice;
use crate::turns::LONGEST;

/// The form of capsules that this tool writes and reads.
pub const FORM: u32 = 1;
/// The largest capsule that is read, in bytes.
pub const LARGEST: usize = 4 << 20;
/// The most agents that a capsule may ask for.
const MOST: u16 = 2_000;

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// [`FORM`].
    pub form: u32,
    /// Version of the tool that wrote it.
    pub version: String,
    /// The scenario's name.
    pub scenario: String,
    /// Its size.
    pub options: Options,
    /// The seed of the search, and which of its schedules failed.
    pub seed: u64,
    /// See `seed`.
    pub number: u64,
    /// The steps; in the file, the turns.
    #[serde(with = "crate::turns")]
    pub schedule: Vec<Choice>,
    /// The rules that were broken.
    pub violations: Vec<Violation>,
    /// Digest of the whole history, in hexadecimal digits.
    pub digest: String,
    /// What happened. It holds numbers in the place of ids and secrets.
    pub timeline: Vec<Entry>,
    /// The command that shows it again.
    pub command: String,
    /// What there is to know of a run with real processes; none when it was played in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// A run with real processes: what ran, what it said, and what was in the database. To be read by people; a replay uses
/// nothing of it. Texts are without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Versions of what ran.
    pub versions: BTreeMap<String, String>,
    /// SHA-256 of each program.
    pub digests: BTreeMap<String, String>,
    /// The last lines of each log.
    pub logs: BTreeMap<String, Vec<String>>,
    /// The rows of this race, by table.
    pub rows: BTreeMap<String, Vec<serde_json::Value>>,
    /// Objects of the cluster, by kind; none where there is no cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<String, Vec<serde_json::Value>>,
}

/// Why a file is no capsule.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    /// It is too long.
    #[error("is {0} bytes long; capsules have at most {LARGEST}")]
    TooLarge(usize),
    /// It cannot be read.
    #[error("is no capsule: {0}")]
    Garbled(#[from] serde_json::Error),
    /// It is of another form.
    #[error("is a capsule of form {0}; this tool reads form {FORM}")]
    Form(u32),
    /// It names a scenario that is not there.
    #[error("is of the scenario {0:?}, which this tool does not have")]
    Scenario(String),
    /// It asks for more than a replay should take.
    #[error("asks for {agents} agents and {steps} steps; at most {MOST} and {LONGEST} are played")]
    TooMuch {
        /// Agents.
        agents: u16,
        /// Steps.
        steps: usize,
    },
}

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same history, byte for byte, each time.
    Reproduced,
    /// The same rule was broken in so many of the replays, or another history came out.
    NotReproduced {
        /// In how many.
        times: u32,
        /// Of how many.
        of: u32,
    },
    /// It was written by a tool that simulates differently: the same rule was broken, by another history.
    EnvironmentDiffers,
}

impl Capsule {
    /// Of a schedule, as the simulation plays it.
    pub fn new(scenario: &Scenario, options: &Options, seed: u64, failure: &Failure) -> Self {
        let history = replay(scenario.start(options), &failure.schedule);
        let numbers = (seed, failure.number);
        Self::of(scenario, options, numbers, failure.schedule.clone(), history, None)
    }

    /// Of a run of this history, with what there is to know of its processes if there were any.
    pub fn of(
        scenario: &Scenario,
        options: &Options,
        (seed, number): (u64, u64),
        schedule: Vec<Choice>,
        history: History,
        live: Option<Live>,
    ) -> Self {
        Self {
            form: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: scenario.name.to_owned(),
            options: options.clone(),
            seed,
            number,
            schedule,
            violations: checkers::check(&history),
            digest: format!("{:016x}", history.digest()),
            timeline: history.entries,
            command: "cargo xtask repro FILE".to_owned(),
            live,
        }
    }

    /// Whether what was broken in it is broken in this history, or nothing in both.
    pub fn is_shown_by(&self, history: &History) -> bool {
        let broken = checkers::check(history);
        let rule = |violation: &Violation| broken.iter().any(|other| other.rule == violation.rule);
        broken.is_empty() == self.violations.is_empty() && self.violations.iter().all(rule)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or not one of this tool's.
    pub fn read(text: &str) -> Result<Self, CapsuleError> {
        if text.len() > LARGEST {
            return Err(CapsuleError::TooLarge(text.len()));
        }
        let capsule: Self = serde_json::from_str(text)?;
        if capsule.form != FORM {
            return Err(CapsuleError::Form(capsule.form));
        }
        let (agents, steps) = (capsule.options.agents, capsule.schedule.len());
        if agents > MOST || steps > LONGEST {
            return Err(CapsuleError::TooMuch { agents, steps });
        }
        capsule.scenario()?;
        Ok(capsule)
    }

    /// As it stands in a file.
    pub fn text(&self) -> String {
        // Numbers, names and plain texts: nothing that could fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Its scenario.
    ///
    /// # Errors
    /// When this tool does not have it.
    pub fn scenario(&self) -> Result<&'static Scenario, CapsuleError> {
        find(&self.scenario).ok_or_else(|| CapsuleError::Scenario(self.scenario.clone()))
    }

    /// Plays it once.
    ///
    /// # Errors
    /// As [`Self::scenario`].
    pub fn play(&self) -> Result<History, CapsuleError> {
        Ok(replay(self.scenario()?.start(&self.options), &self.schedule))
    }

    /// Plays it so many times.
    ///
    /// # Errors
    /// As [`Self::scenario`].
    pub fn reproduce(&self, of: u32) -> Result<Verdict, CapsuleError> {
        let (mut times, mut same) = (0, 0);
        for _ in 0..of {
            let history = self.play()?;
            times += u32::from(self.is_shown_by(&history));
            same += u32::from(format!("{:016x}", history.digest()) == self.digest);
        }
        Ok(match (times == of, same == of) {
            (true, true) => Verdict::Reproduced,
            (true, false) => Verdict::EnvironmentDiffers,
            (false, _) => Verdict::NotReproduced { times, of },
        })
    }

    /// A failure by one of the same rules, in fewer steps.
    ///
    /// # Errors
    /// As [`Self::scenario`].
    pub fn minimised(&self) -> Result<Self, CapsuleError> {
        let scenario = self.scenario()?;
        if self.violations.is_empty() {
            return Ok(self.clone());
        }
        let (options, schedule) = minimise(scenario, &self.options, &self.schedule, &self.violations);
        let failure = Failure { number: self.number, schedule, violations: Vec::new() };
        Ok(Self::new(scenario, &options, self.seed, &failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::search;
    use crate::mutants;
    use crate::turns::turns;

    fn capsule() -> Capsule {
        let (scenario, options) = mutants::named("check-then-act").unwrap().world().unwrap();
        let failure = search(scenario, &options, 1, 500).unwrap();
        Capsule::new(scenario, &options, 1, &failure)
    }

    #[test]
    fn it_reads_back_replays_and_is_shrunk() {
        let capsule = Capsule::read(&capsule().text()).unwrap();
        assert_eq!(capsule.reproduce(100).unwrap(), Verdict::Reproduced);
        let small = capsule.minimised().unwrap();
        assert!(turns(&small.schedule).len() <= 6, "{:?}", small.schedule);
        assert_eq!(small.reproduce(100).unwrap(), Verdict::Reproduced);
    }

    #[test]
    fn what_does_not_come_again_and_what_comes_differently_is_told() {
        let mut other = capsule();
        other.digest = "0".repeat(16);
        assert_eq!(other.reproduce(3).unwrap(), Verdict::EnvironmentDiffers);
        other.options.defect = None;
        assert_eq!(other.reproduce(3).unwrap(), Verdict::NotReproduced { times: 0, of: 3 });
    }

    #[test]
    fn a_capsule_in_which_nothing_broke_is_reproduced_when_nothing_breaks() {
        let mut right = capsule();
        right.options.defect = None;
        let scenario = right.scenario().unwrap();
        let failure = Failure { number: 0, schedule: right.schedule, violations: Vec::new() };
        let right = Capsule::new(scenario, &right.options, 1, &failure);
        assert_eq!(right.violations, []);
        assert_eq!(right.reproduce(3).unwrap(), Verdict::Reproduced);
    }

    #[test]
    fn a_strangers_file_is_read_as_data_or_not_at_all() {
        let text = capsule().text();
        for (from, to) in [
            ("\"form\": 1", "\"form\": 2"),
            ("\"form\": 1", "\"form\": 1, \"run\": \"sh -c id\""),
            ("\"token-race\"", "\"../../etc\""),
            ("\"agents\": 3", "\"agents\": 60000"),
            ("\"agent 0\"", "\"agent 0 x4000000000\""),
            ("\"agent 0\"", "\"agent 0; rm\""),
            ("\"check-then-act\"", "\"$(id)\""),
        ] {
            let garbled = text.replacen(from, to, 1);
            assert_ne!(garbled, text, "{from}");
            assert!(Capsule::read(&garbled).is_err(), "{to}");
        }
        assert!(Capsule::read(&" ".repeat(LARGEST + 1)).is_err());
    }
}
