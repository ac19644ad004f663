//! Transcripts of a polling loop: `14:31:02 Pending`, one line per look. Pure.
//!
//! Looks come at other moments each time, so a phase may be seen often or be missed; the order and the end stay.

use std::sync::LazyLock;

use regex::Regex;

#[expect(clippy::unwrap_used, reason = "the pattern is a constant, and tested")]
static LINE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\d\d:\d\d:\d\d ([A-Z][A-Za-z]*)$").unwrap());

/// The phases of a transcript, each once in a row; none when the text is something else.
pub(super) fn phases(text: &str) -> Option<Vec<String>> {
    let mut phases: Vec<String> = Vec::new();
    for line in text.lines() {
        let phase = LINE.captures(line.trim_end())?[1].to_owned();
        if phases.last() != Some(&phase) {
            phases.push(phase);
        }
    }
    (!phases.is_empty()).then_some(phases)
}

/// What is wrong with the phases that were seen. Before the first phase of the document others may be seen: the
/// first look can come before anything has happened.
pub(super) fn differences(expected: &[String], actual: &str) -> Vec<String> {
    let Some(seen) = phases(actual) else {
        let line = actual.lines().find(|line| !LINE.is_match(line.trim_end())).unwrap_or_default();
        return vec![format!("expected lines of a time and a phase, found {line:?}")];
    };
    let known = seen.iter().skip_while(|phase| !expected.contains(phase));
    let mut rest = expected.iter();
    let mut found = Vec::new();
    for phase in known {
        if !rest.any(|next| next == phase) {
            found.push(format!(
                "{phase} is out of order: the document shows {}, seen was {}",
                expected.join(" \u{2192} "),
                seen.join(" \u{2192} ")
            ));
            break;
        }
    }
    if found.is_empty() && seen.last() != expected.last() {
        found.push(format!(
            "expected to end with {}, seen was {}",
            expected.last().map(String::as_str).unwrap_or_default(),
            seen.join(" \u{2192} ")
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UP: [&str; 4] = ["Pending", "Provisioning", "Enrolling", "Ready"];

    fn transcript(phases: &[&str]) -> String {
        phases.iter().map(|phase| format!("10:00:00 {phase}\n")).collect()
    }

    fn check(seen: &[&str]) -> usize {
        differences(&UP.map(str::to_owned), &transcript(seen)).len()
    }

    #[test]
    fn phases_may_be_missed_or_repeated_and_not_turn_around() {
        assert_eq!(check(&UP), 0);
        assert_eq!(check(&["Pending", "Pending", "Enrolling", "Enrolling", "Ready"]), 0);
        assert_eq!(check(&["Ready"]), 0);
        assert_eq!(check(&["Pending", "Enrolling", "Provisioning", "Ready"]), 1);
        assert_eq!(check(&["Pending", "Failed"]), 1);
        assert_eq!(check(&["Pending", "Provisioning"]), 1, "it did not end as it should");
        assert_eq!(check(&["Failed"]), 1);
        let down = ["Deregistering", "Deprovisioning", "Deleted"].map(str::to_owned);
        assert_eq!(differences(&down, &transcript(&["Ready", "Deregistering", "Deleted"])), [""; 0]);
        assert_eq!(phases("14:31:02 Pending\nerror"), None);
    }

    proptest! {
        #[test]
        fn every_ordered_choice_that_ends_right_passes_and_every_step_back_fails(
            choice in prop::collection::vec(0_usize..4, 1..8)
        ) {
            let mut seen: Vec<&str> = choice.iter().map(|index| UP[*index]).collect();
            seen.push("Ready");
            let ordered = choice.windows(2).all(|pair| pair[0] <= pair[1]);
            prop_assert_eq!(check(&seen) == 0, ordered);
        }
    }
}
