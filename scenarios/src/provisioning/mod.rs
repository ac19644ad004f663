//! The tutorial "Provision a cloud Resource" through the API: two parties, one Project, Resources of the cloudless
//! blueprint.
//!
//! [`parties`] have sessions of their own, [`flow`] takes the tutorial's steps, [`watch`] sees every [`phase`] and the
//! [`substrate`] meanwhile; the other modules are scenarios.

pub mod flow;
pub mod golden;
pub mod parties;
pub mod phase;
pub mod substrate;
pub mod two_party;
pub mod watch;
pub mod windows;
