//! A stack: described ([`spec`]), planned ([`plan`], pure), brought up ([`start`]), and then known by its
//! addresses ([`running`]). [`record`] is what is left on disk for later commands.

mod answering;
mod beginning;
pub mod control;
pub mod definitions;
pub mod garbage;
pub mod logs;
pub mod manifests;
pub mod plan;
pub mod record;
pub mod remains;
pub mod running;
pub mod secrets;
pub mod spec;
pub mod start;
