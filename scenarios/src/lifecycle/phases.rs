//! The phases of a provisioned Resource that makes a Node, as the contract (control plane, 9.3) lists their moves.
//! Pure.

/// Every legal move of a Resource whose blueprint makes a Node. The first one is its making.
pub const LEGAL: [(&str, &str); 16] = [
    ("", "Pending"),
    ("Pending", "Provisioning"),
    ("Provisioning", "Enrolling"),
    ("Enrolling", "Ready"),
    ("Pending", "Failed"),
    ("Provisioning", "Failed"),
    ("Enrolling", "Failed"),
    ("Pending", "Deregistering"),
    ("Provisioning", "Deregistering"),
    ("Enrolling", "Deregistering"),
    ("Ready", "Deregistering"),
    ("Failed", "Deregistering"),
    ("Deregistering", "Deprovisioning"),
    ("Deregistering", "Failed"),
    ("Deprovisioning", "Failed"),
    ("Deprovisioning", "Deleted"),
];

/// The phases of a life without mishaps.
pub const LIFE: [&str; 7] =
    ["Pending", "Provisioning", "Enrolling", "Ready", "Deregistering", "Deprovisioning", "Deleted"];

/// The phases of these moves, if the moves follow each other and every one is legal.
///
/// # Errors
/// The first move that is not legal, or does not begin where the one before it ended.
pub fn path(moves: &[(String, String)]) -> Result<Vec<String>, String> {
    let mut at = "";
    for (from, to) in moves {
        if from != at {
            return Err(format!("{from} → {to}, which comes after {at:?}"));
        }
        if !LEGAL.contains(&(from.as_str(), to.as_str())) {
            return Err(format!("{from:?} → {to}, which is not legal"));
        }
        at = to;
    }
    Ok(moves.iter().map(|(_, to)| to.clone()).collect())
}

/// Whether `seen` is what somebody sees who looks at `path` now and then.
pub fn is_glimpse_of(seen: &[String], path: &[String]) -> bool {
    let mut rest = path.iter();
    seen.iter().all(|phase| rest.any(|other| other == phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn moves_that_follow_each_other_are_a_path() {
        let up = moves(&[("", "Pending"), ("Pending", "Provisioning"), ("Provisioning", "Enrolling")]);
        assert_eq!(path(&up).unwrap(), ["Pending", "Provisioning", "Enrolling"]);
        for wrong in [
            &[("", "Pending"), ("Pending", "Enrolling")][..],
            &[("", "Pending"), ("Provisioning", "Enrolling")],
            &[("", "Pending"), ("Pending", "Provisioning"), ("Pending", "Provisioning")],
            &[("Pending", "Provisioning")],
        ] {
            assert!(path(&moves(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_glimpse_may_miss_phases_but_never_goes_back() {
        let path = LIFE.map(str::to_owned);
        let glimpse = |seen: &[&str]| {
            is_glimpse_of(&seen.iter().map(|phase| (*phase).to_owned()).collect::<Vec<_>>(), &path)
        };
        assert!(glimpse(&["Pending", "Ready", "Deleted"]));
        assert!(!glimpse(&["Ready", "Pending"]));
        assert!(!glimpse(&["Pending", "Failed"]));
    }
}
