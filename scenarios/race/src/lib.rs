//! Searches the orders in which things can happen, and checks every history.
//!
//! [`sim`] runs the control plane's own decisions (`plexlab-rules`) against a database, a cluster, agents and people in
//! memory, one step at a time; [`explore`] chooses the steps; [`checkers`] judges what came of it. A seed gives the
//! same history on every machine and in every build. [`mutants`] are control planes that are wrong in one way each.

pub mod capsule;
pub mod checkers;
pub mod explore;
pub mod form;
pub mod history;
pub mod mutants;
pub mod scenario;
pub mod sim;
pub mod timeline;
pub mod turns;
