//! Control planes that are wrong in one way each, and the rules that must notice.

use plexlab_rules::assignment::Defect as Assignment;
use plexlab_rules::lifecycle::Defect as Lifecycle;
use plexlab_rules::registration::Defect as Redemption;

use crate::scenario::{Options, Scenario, find};
use crate::sim::defects::Defect;

/// A control plane that is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// What is wrong.
    pub defect: Defect,
    /// Where it shows.
    pub scenario: &'static str,
    /// How many things must break for it to show.
    pub faults: u16,
    /// The rules that it breaks: some of them must notice, and no other may.
    pub rules: &'static [&'static str],
}

impl Mutant {
    /// Its name: the defect's.
    pub fn name(&self) -> String {
        name(self.defect)
    }

    /// Why no control plane that is a process is wrong in this way; none when there is one.
    pub fn not_live(&self) -> Option<&'static str> {
        match self.defect {
            Defect::Redemption(Redemption::ExpiryIsInclusive) => {
                Some("it shows in one microsecond, and the clock of a process does not stop there")
            }
            Defect::Redemption(_) | Defect::Assignment(_) | Defect::Lifecycle(_) => None,
            Defect::NoNonceIndex | Defect::NoAddressIndex => None,
            _ => Some("the stand-in has no switch for it"),
        }
    }

    /// The scenario in which it shows, and its size.
    pub fn world(&self) -> Option<(&'static Scenario, Options)> {
        let scenario = find(self.scenario)?;
        Some((scenario, Options { defect: Some(self.defect), ..scenario.options(self.faults) }))
    }
}

/// A defect as the command line and capsules write it.
pub fn name(defect: Defect) -> String {
    let text = serde_json::to_value(defect).unwrap_or_default();
    let inner = text.get("redemption").or_else(|| text.get("assignment")).unwrap_or(&text);
    inner.as_str().unwrap_or_default().to_owned()
}

/// The mutant of this name.
pub fn named(text: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.name() == text)
}

const fn redemption(
    defect: Redemption,
    scenario: &'static str,
    faults: u16,
    rules: &'static [&'static str],
) -> Mutant {
    mutant(Defect::Redemption(defect), scenario, faults, rules)
}

const fn assignment(defect: Assignment, rules: &'static [&'static str]) -> Mutant {
    mutant(Defect::Assignment(defect), "two-parties", 0, rules)
}

const fn lifecycle(
    defect: Lifecycle,
    scenario: &'static str,
    faults: u16,
    rules: &'static [&'static str],
) -> Mutant {
    mutant(Defect::Lifecycle(defect), scenario, faults, rules)
}

const fn mutant(
    defect: Defect,
    scenario: &'static str,
    faults: u16,
    rules: &'static [&'static str],
) -> Mutant {
    Mutant { defect, scenario, faults, rules }
}

/// What two winners of one token break.
const TWO_WINNERS: &[&str] = &["one-winner", "consumed-with-its-row", "linearizable", "codes"];

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    redemption(Redemption::CheckThenAct, "token-race", 0, TWO_WINNERS),
    redemption(Redemption::SnapshotIsolation, "token-race", 0, TWO_WINNERS),
    redemption(Redemption::RepeatableRead, "token-race", 0, &["codes"]),
    redemption(Redemption::TrustsThePeek, "token-race", 0, TWO_WINNERS),
    redemption(Redemption::IgnoresConsumption, "token-race", 0, TWO_WINNERS),
    redemption(Redemption::RespondsBeforeCommit, "token-race", 0, &["told-what-is", "linearizable", "codes"]),
    redemption(
        Redemption::ConsumesAfterAnswer,
        "token-race",
        0,
        &["consumed-with-its-row", "one-winner", "linearizable", "codes"],
    ),
    redemption(
        Redemption::RetryConsumesAgain,
        "token-race",
        2,
        &["consumed-with-its-row", "one-winner", "linearizable", "codes", "in-time"],
    ),
    redemption(Redemption::IgnoresExpiry, "expiry-race", 1, &["in-time"]),
    redemption(Redemption::ExpiryAtArrival, "expiry-race", 1, &["in-time"]),
    redemption(Redemption::ExpiryByOtherClock, "expiry-race", 1, &["in-time"]),
    redemption(Redemption::ExpiryIsInclusive, "expiry-race", 1, &["in-time"]),
    redemption(Redemption::ExpiryBeforeConsumption, "expiry-race", 1, &["codes", "linearizable"]),
    redemption(Redemption::IgnoresRevocation, "revocation-race", 0, &["in-time", "linearizable"]),
    redemption(Redemption::ConsumedIsRevoked, "token-race", 0, &["codes", "linearizable"]),
    redemption(Redemption::ReplayIsConsumed, "token-race", 2, &["codes", "linearizable"]),
    mutant(Defect::NoNonceIndex, "nonce-race", 0, &["one-nonce"]),
    mutant(Defect::NoAddressIndex, "address-race", 0, &["one-address"]),
    redemption(Redemption::AllocatorUnlocked, "address-race", 0, &["codes"]),
    mutant(Defect::SpillsOver, "full-pool", 0, &["one-address"]),
    mutant(Defect::TakesReserved, "address-race", 0, &["one-address"]),
    mutant(Defect::ConsumesFirst, "token-race", 0, &["consumed-with-its-row"]),
    mutant(
        Defect::ConsumesAfterwards,
        "token-race",
        0,
        &["consumed-with-its-row", "one-winner", "linearizable", "codes"],
    ),
    mutant(
        Defect::ForgetsToCommit,
        "token-race",
        0,
        &["told-what-is", "someone-wins", "one-winner", "linearizable"],
    ),
    mutant(Defect::AnswersForTheWinner, "token-race", 0, &["one-winner", "told-what-is", "linearizable"]),
    mutant(Defect::RefusalSpends, "full-pool", 0, &["consumed-with-its-row"]),
    mutant(Defect::CommitsAgain, "token-race", 2, TWO_WINNERS),
    mutant(Defect::ErrorsAreConsumed, "token-race", 1, &["codes", "linearizable", "someone-wins"]),
    mutant(Defect::RevokesUnlocked, "revocation-race", 0, &["in-time", "linearizable", "codes"]),
    mutant(Defect::RevokesConsumed, "revocation-race", 0, &["in-time", "linearizable", "codes"]),
    mutant(Defect::RevocationLies, "revocation-race", 0, &["linearizable"]),
    mutant(Defect::ReadsStale, "revocation-race", 0, &["linearizable"]),
    lifecycle(Lifecycle::SkipsEnrolling, "lifecycle", 0, &["phases", "ready-is-a-peer"]),
    lifecycle(Lifecycle::SubstrateFirst, "lifecycle", 0, &["node-before-substrate", "ends"]),
    lifecycle(
        Lifecycle::MovesUnguarded,
        "lifecycle",
        0,
        &["phases", "ends", "no-token-outlives", "ready-is-a-peer", "node-before-substrate"],
    ),
    lifecycle(Lifecycle::FailureKeepsToken, "lifecycle", 1, &["no-token-outlives"]),
    lifecycle(
        Lifecycle::DeletionKeepsToken,
        "lifecycle",
        0,
        &["no-token-outlives", "node-before-substrate", "ends"],
    ),
    lifecycle(Lifecycle::ReadyWithoutPeer, "lifecycle", 0, &["ready-is-a-peer"]),
    lifecycle(Lifecycle::SweepsNothing, "lifecycle", 0, &["ends"]),
    lifecycle(Lifecycle::WaitsForEver, "provisioning", 1, &["ends"]),
    lifecycle(Lifecycle::DeletesAgain, "lifecycle", 0, &["phases"]),
    lifecycle(Lifecycle::MovesWithExpired, "provisioning", 1, &["ends"]),
    assignment(Assignment::ApprovesOwn, &["two-parties"]),
    assignment(Assignment::DecidesUnlocked, &["decided-once"]),
    assignment(Assignment::ApprovesRevoked, &["decided-once"]),
    assignment(Assignment::RequestIsEnough, &["approved-first"]),
    assignment(Assignment::RemembersApproval, &["approved-first"]),
    assignment(Assignment::DecisionLies, &["decided-once"]),
];
