//! The parts of a stack in memory: small machines that take turns, one step at a time, in any order.

pub mod approval;
pub mod choice;
pub mod database;
pub mod defects;
pub mod enrolment;
pub mod footprint;
mod handler;
pub mod lifecycle;
pub mod random;

use crate::history::History;
use choice::Choice;
use footprint::Footprint;

/// Something that can be run in any order.
pub trait Model: Clone {
    /// What can happen next, always in the same order; faults come last.
    fn choices(&self, into: &mut Vec<Choice>);
    /// Lets it happen, if it can; says what it read and wrote.
    fn step(&mut self, choice: Choice) -> Footprint;
    /// What has happened so far.
    fn history(&self) -> &History;
    /// What has happened, when nothing more is to happen.
    fn into_history(self) -> History;
}
