//! A schedule as people read it: what one actor does several times in a row is one turn.
//!
//! ```text
//! agent 0, server 0.0 x10, jump
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sim::choice::{Choice, UnknownChoice};

/// The longest schedule that is read, in steps.
pub const LONGEST: usize = 100_000;

/// One step, so many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The step.
    pub choice: Choice,
    /// How often; at least once.
    pub times: usize,
}

/// Why a text is no schedule.
#[derive(Debug, thiserror::Error)]
pub enum BadSchedule {
    /// It has a step that there is none of.
    #[error(transparent)]
    Step(#[from] UnknownChoice),
    /// It goes on for too long.
    #[error("a schedule has at most {LONGEST} steps")]
    TooLong,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            1 => write!(f, "{}", self.choice),
            times => write!(f, "{} x{times}", self.choice),
        }
    }
}

impl FromStr for Turn {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let repeated = text.rsplit_once(" x").and_then(|(step, times)| {
            let times = times.parse().ok().filter(|times| *times > 0)?;
            Some((step, times))
        });
        let (step, times) = repeated.unwrap_or((text, 1));
        Ok(Self { choice: step.parse()?, times })
    }
}

/// The turns of a schedule.
pub fn turns(schedule: &[Choice]) -> Vec<Turn> {
    let same = schedule.chunk_by(|one, other| one == other);
    same.filter_map(|steps| Some(Turn { choice: *steps.first()?, times: steps.len() })).collect()
}

/// The turns of a schedule, each as text.
pub fn texts(schedule: &[Choice]) -> Vec<String> {
    turns(schedule).iter().map(ToString::to_string).collect()
}

/// The steps of these turns.
///
/// # Errors
/// When one is none, or they are too many.
pub fn steps<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Vec<Choice>, BadSchedule> {
    let mut steps = Vec::new();
    for text in texts {
        let Turn { choice, times } = text.parse()?;
        if times > LONGEST - steps.len() {
            return Err(BadSchedule::TooLong);
        }
        steps.extend(std::iter::repeat_n(choice, times));
    }
    Ok(steps)
}

/// As a list of turns.
pub(crate) fn serialize<S: Serializer>(schedule: &[Choice], serializer: S) -> Result<S::Ok, S::Error> {
    texts(schedule).serialize(serializer)
}

/// See [`serialize`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Choice>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    steps(texts.iter().map(String::as_str)).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_again_is_written_once_and_read_back() {
        let schedule = steps(["agent 0", "server 0.0 x3", "watch", "server 0.0"]).unwrap();
        assert_eq!(schedule.len(), 6);
        assert_eq!(texts(&schedule).join(", "), "agent 0, server 0.0 x3, watch, server 0.0");
        assert_eq!(texts(&steps(["agent 0", "agent 0"]).unwrap()), ["agent 0 x2"]);
    }

    #[test]
    fn what_is_no_turn_or_would_never_end_is_refused() {
        for text in ["agent 0 x0", "agent 0 x", "agent x2", "x2", "agent 0 x-1", "agent 0 x2 x2"] {
            assert!(matches!(steps([text]), Err(BadSchedule::Step(_))), "{text}");
        }
        let most = format!("agent 0 x{LONGEST}");
        assert_eq!(steps([most.as_str()]).unwrap().len(), LONGEST);
        for more in [&[most.as_str(), "agent 0"][..], &["agent 0 x18446744073709551615"]] {
            assert!(matches!(steps(more.iter().copied()), Err(BadSchedule::TooLong)), "{more:?}");
        }
    }
}
