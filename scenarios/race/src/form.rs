//! A capsule from the text of a filled-in bug report (`.github/ISSUE_TEMPLATE/race.yml`).
//!
//! The report is Markdown with a heading for each field: `### Scenario`, `### Agents`, `### Faults`, `### Seed`,
//! `### Schedules`, and, if it is known, `### Schedule` with a step in each line.

use std::collections::BTreeMap;

use crate::capsule::Capsule;
use crate::explore::{Failure, search};
use crate::scenario::{Options, find};
use crate::turns::{self, BadSchedule};

/// Why a report makes no capsule.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// A field is not there, or empty.
    #[error("the report has nothing under \"### {0}\"")]
    Missing(&'static str),
    /// A field is no number.
    #[error("under \"### {field}\" a number was expected, there is {text:?}")]
    Number {
        /// Which.
        field: &'static str,
        /// What is there.
        text: String,
    },
    /// There is no such scenario.
    #[error("there is no scenario {0:?}")]
    Scenario(String),
    /// A step cannot be read, or there are too many.
    #[error("the schedule cannot be read: {0}")]
    Step(#[from] BadSchedule),
    /// It was searched, and nothing broke.
    #[error("{0} schedules of this seed break no rule")]
    Nothing(u64),
}

/// Plays what the report says, and keeps what comes of it. With a schedule, whatever it breaks is kept; without one, the
/// first failure of the seed.
///
/// # Errors
/// When a field is missing or wrong, or nothing breaks.
pub fn capsule(report: &str) -> Result<Capsule, FormError> {
    let fields = fields(report);
    let text = |field: &'static str| fields.get(field).map(String::as_str).filter(|text| !text.is_empty());
    let number = |field: &'static str, default: u64| match text(field) {
        None => Ok(default),
        Some(text) => text.parse::<u64>().map_err(|_| FormError::Number { field, text: text.to_owned() }),
    };
    let name = text("Scenario").ok_or(FormError::Missing("Scenario"))?;
    let scenario = find(name).ok_or_else(|| FormError::Scenario(name.to_owned()))?;
    let small = |field, default: u16, most: u16| {
        number(field, u64::from(default)).map(|value| u16::try_from(value).unwrap_or(most).min(most))
    };
    let options = Options {
        agents: small("Agents", scenario.agents, 1_000)?,
        faults: small("Faults", 1, 100)?,
        defect: None,
    };
    let (seed, schedules) = (number("Seed", 1)?, number("Schedules", 500)?.min(10_000_000));
    let failure = match text("Schedule") {
        Some(steps) => {
            let steps = steps.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "```");
            let schedule = turns::steps(steps)?;
            Failure { number: 0, schedule, violations: Vec::new() }
        }
        None => search(scenario, &options, seed, schedules).ok_or(FormError::Nothing(schedules))?,
    };
    Ok(Capsule::new(scenario, &options, seed, &failure))
}

fn fields(report: &str) -> BTreeMap<&str, String> {
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    let mut field = None;
    for line in report.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            field = Some(name.trim());
        } else if let Some(name) = field {
            let text = fields.entry(name).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    for text in fields.values_mut() {
        // What GitHub writes for a field that was left empty.
        let trimmed = text.trim();
        *text = if trimmed == "_No response_" { String::new() } else { trimmed.to_owned() };
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_with_a_schedule_becomes_a_capsule() {
        let report = "### Scenario\n\ntoken-race\n\n### Agents\n\n2\n\n### Seed\n\n_No response_\n\n### Schedule\n\n```\nagent 0\nserver 0.0\nlose-reply 0\n```\n";
        let capsule = capsule(report).unwrap();
        assert_eq!(
            (capsule.scenario.as_str(), capsule.options.agents, capsule.schedule.len()),
            ("token-race", 2, 3)
        );
    }

    #[test]
    fn what_is_wrong_in_a_report_is_named() {
        let wrong = |report: &str| capsule(report).unwrap_err().to_string();
        assert!(wrong("nothing").contains("### Scenario"));
        assert!(wrong("### Scenario\nx\n").contains("\"x\""));
        assert!(wrong("### Scenario\ntoken-race\n### Agents\nmany\n").contains("Agents"));
        assert!(wrong("### Scenario\ntoken-race\n### Schedule\nrm -rf /\n").contains("rm -rf"));
        assert!(wrong("### Scenario\ntoken-race\n### Schedules\n20\n").contains("20 schedules"));
    }
}
