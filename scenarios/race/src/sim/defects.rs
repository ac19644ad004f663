//! What can be wrong with a simulated control plane, besides what can be with one redemption, decision
//! or Resource.

use plexlab_rules::{assignment, lifecycle, registration};
use serde::{Deserialize, Serialize};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// Of a redemption's decisions.
    Redemption(registration::Defect),
    /// Nonces are neither looked at nor held apart by an index.
    NoNonceIndex,
    /// Addresses are neither chosen alone nor held apart by an index.
    NoAddressIndex,
    /// A full sub-range gives way to the Domain's pool.
    SpillsOver,
    /// The pool's choice does not step over what Projects have reserved.
    TakesReserved,
    /// The token is consumed in a transaction before that of the Node.
    ConsumesFirst,
    /// The token is consumed in a transaction after that of the Node.
    ConsumesAfterwards,
    /// The transaction is rolled back, and the caller told that it won.
    ForgetsToCommit,
    /// Whoever loses gets the winner's answer.
    AnswersForTheWinner,
    /// A refusal for want of an address spends the token.
    RefusalSpends,
    /// A commit whose connection broke is simply done again.
    CommitsAgain,
    /// An unexpected refusal of the database is told as a lost race.
    ErrorsAreConsumed,
    /// A token is revoked without a look at its row's lock.
    RevokesUnlocked,
    /// A consumed token can be revoked.
    RevokesConsumed,
    /// A revocation that came too late is told as done.
    RevocationLies,
    /// The state of a token is read from a copy that is never refreshed.
    ReadsStale,
    /// Of decisions about requests.
    Assignment(assignment::Defect),
    /// Of the broker, or of deletions; in capsules by its own name alone.
    #[serde(untagged)]
    Lifecycle(lifecycle::Defect),
}
