//! The phases of a provisioned Resource of a Node blueprint, and which moves between them are legal (contract: control
//! plane, 9.3). Pure.
//!
//! The stand-in has such a table too (`fixtures/rules/src/phase.rs`). They are two on purpose: who judges a control plane
//! must not share the table of the one that is judged.

use std::fmt;

use plexlab_harness::run::Failure;

use crate::clients::database::PhaseMove;

/// Where a provisioned Resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Accepted.
    Pending,
    /// Its substrate is being made.
    Provisioning,
    /// Its Node is expected.
    Enrolling,
    /// There.
    Ready,
    /// Given up.
    Failed,
    /// Its Node leaves the mesh.
    Deregistering,
    /// Its substrate is being removed.
    Deprovisioning,
    /// Gone.
    Deleted,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Provisioning,
        Self::Enrolling,
        Self::Ready,
        Self::Failed,
        Self::Deregistering,
        Self::Deprovisioning,
        Self::Deleted,
    ];
    /// The way up.
    pub const UP: [Self; 4] = [Self::Pending, Self::Provisioning, Self::Enrolling, Self::Ready];
    /// The way down.
    pub const DOWN: [Self; 3] = [Self::Deregistering, Self::Deprovisioning, Self::Deleted];

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Enrolling => "Enrolling",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Deregistering => "Deregistering",
            Self::Deprovisioning => "Deprovisioning",
            Self::Deleted => "Deleted",
        }
    }

    /// Reads what the API wrote.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|phase| phase.as_str() == text);
        found.ok_or_else(|| Failure::expected("a phase that is published", text))
    }

    /// Whether this single move is legal.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => {
                matches!(next, Self::Provisioning | Self::Failed | Self::Deregistering)
            }
            Self::Provisioning => matches!(next, Self::Enrolling | Self::Failed | Self::Deregistering),
            Self::Enrolling => matches!(next, Self::Ready | Self::Failed | Self::Deregistering),
            Self::Ready | Self::Failed => next == Self::Deregistering,
            Self::Deregistering => matches!(next, Self::Deprovisioning | Self::Failed),
            Self::Deprovisioning => matches!(next, Self::Deleted | Self::Failed),
            Self::Deleted => false,
        }
    }

    /// Whether one or more legal moves lead there. Somebody who looks now and then sees such pairs.
    pub fn leads_to(self, later: Self) -> bool {
        let mut reached: Vec<Self> = vec![self];
        let mut next = 0;
        while next < reached.len() {
            let here = reached[next];
            if here.may_become(later) {
                return true;
            }
            let more = Self::ALL.into_iter().filter(|phase| here.may_become(*phase));
            let new: Vec<Self> = more.filter(|phase| !reached.contains(phase)).collect();
            reached.extend(new);
            next += 1;
        }
        false
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Phases in one line: `Pending, Provisioning`.
pub fn listed(phases: &[Phase]) -> String {
    phases.iter().map(|phase| phase.as_str()).collect::<Vec<_>>().join(", ")
}

/// Whether what somebody saw by looking now and then can have come about by legal moves.
///
/// # Errors
/// A failure that names the first pair that cannot.
pub fn seen_legally(seen: &[Phase]) -> Result<(), Failure> {
    let illegal = seen.windows(2).find(|pair| !pair[0].leads_to(pair[1]));
    match illegal {
        None => Ok(()),
        Some(pair) => Err(Failure::expected(
            "phases that follow from each other by legal moves",
            format!("{} after {} in {}", pair[1], pair[0], listed(seen)),
        )),
    }
}

/// Whether all that was seen is in `whole`, in its order.
///
/// # Errors
/// A failure that shows both.
pub fn subsequence(seen: &[Phase], whole: &[Phase]) -> Result<(), Failure> {
    let mut rest = whole.iter();
    if seen.iter().all(|phase| rest.any(|other| other == phase)) {
        return Ok(());
    }
    Err(Failure::expected(format!("some of {}, in this order", listed(whole)), listed(seen)))
}

/// Whether every recorded move is legal and begins where the one before ended; gives the phases.
///
/// # Errors
/// A failure that names the first move that is not.
pub fn moved_legally(moves: &[PhaseMove]) -> Result<Vec<Phase>, Failure> {
    let mut phases: Vec<Phase> = Vec::new();
    for recorded in moves {
        let from = recorded.from.as_deref().map(Phase::parse).transpose()?;
        let to = Phase::parse(&recorded.to)?;
        let legal = match from {
            None => phases.is_empty() && to == Phase::Pending,
            Some(from) => phases.last() == Some(&from) && from.may_become(to),
        };
        if !legal {
            let from = from.map_or("nothing".to_owned(), |from| from.to_string());
            let seen = format!("{from} to {to} after {}", listed(&phases));
            return Err(Failure::expected("a legal move that begins where the last one ended", seen));
        }
        phases.push(to);
    }
    Ok(phases)
}

#[cfg(test)]
mod tests {
    use super::Phase::{self, *};
    use super::*;

    fn moves(pairs: &[(&str, &str)]) -> Vec<PhaseMove> {
        let of = |(from, to): &(&str, &str)| PhaseMove {
            from: (!from.is_empty()).then(|| (*from).to_owned()),
            to: (*to).to_owned(),
        };
        pairs.iter().map(of).collect()
    }

    #[test]
    fn the_whole_way_is_legal_step_by_step_and_leads_nowhere_back() {
        let whole: Vec<Phase> = Phase::UP.into_iter().chain(Phase::DOWN).collect();
        assert!(whole.windows(2).all(|pair| pair[0].may_become(pair[1])));
        for (at, phase) in whole.iter().enumerate() {
            let back = whole[..=at].iter().filter(|earlier| phase.leads_to(**earlier));
            // A teardown that failed is begun again.
            let again: &[Phase] = match phase {
                Deregistering => &[Deregistering],
                Deprovisioning => &[Deregistering, Deprovisioning],
                _ => &[],
            };
            assert_eq!(back.copied().collect::<Vec<_>>(), again, "{phase}");
        }
        assert!(Phase::ALL.into_iter().all(|phase| !Deleted.leads_to(phase)));
    }

    #[test]
    fn what_is_seen_now_and_then_may_leave_phases_out_but_not_go_back() {
        assert_eq!(seen_legally(&[Pending, Ready, Deleted]), Ok(()));
        let back = seen_legally(&[Pending, Enrolling, Provisioning]).unwrap_err();
        assert!(back.seen.starts_with("Provisioning after Enrolling"), "{back}");
        assert_eq!(subsequence(&[Pending, Ready], &Phase::UP), Ok(()));
        assert!(subsequence(&[Ready, Pending], &Phase::UP).is_err());
        assert!(subsequence(&[Failed], &Phase::UP).is_err());
    }

    #[test]
    fn recorded_moves_have_no_gap_and_no_illegal_edge() {
        let up = [("", "Pending"), ("Pending", "Provisioning"), ("Provisioning", "Enrolling")];
        assert_eq!(moved_legally(&moves(&up)), Ok(vec![Pending, Provisioning, Enrolling]));
        for wrong in [
            [("", "Pending"), ("Provisioning", "Enrolling")],
            [("", "Pending"), ("Pending", "Ready")],
            [("", "Provisioning"), ("Provisioning", "Enrolling")],
            [("", "Pending"), ("", "Pending")],
        ] {
            assert!(moved_legally(&moves(&wrong)).is_err(), "{wrong:?}");
        }
    }
}
