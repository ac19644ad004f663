//! The life of a provisioned Resource under stress: in which order its phases and its objects come and go, what ends
//! it, and what a fight for its token leaves behind.
//!
//! [`ground`] makes what all need (a Project that may spend the seeded credential), [`witness`] watches a Resource in
//! two independent ways, [`hold`] keeps one in a phase, [`outage`] takes parts of the stack away; the other modules are
//! the scenarios.

pub mod failed;
pub mod ground;
pub mod hold;
pub mod many;
pub mod ordering;
pub mod outage;
pub mod teardown;
pub mod token_race;
pub mod witness;
