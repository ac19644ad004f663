//! Races with real processes: the schedules of `plexlab-race` drive a control plane and its database, step by step.
//!
//! A step is the simulation's: an agent sends or takes its answer, the control plane goes on with a request until its
//! next gate, something breaks. What happened is put together from the callers' side and from the database, whose
//! triggers note every change with its transaction; commit timestamps give the order. The rules are the simulation's.
//!
//! Owns: the arena ([`arena`]), who takes part ([`cast`]) and what a race begins with ([`field`]), what the database
//! wrote ([`changes`]), the steps ([`world`]), whole schedules ([`play`]), agents that are programs ([`programs`]), many
//! agents without gates ([`crowd`]), which may be programs, too, and what a provisioned Resource adds ([`lifecycle`]). Does not own: the choice of schedules, rules, capsules.

pub mod arena;
mod breaks;
pub mod calls;
pub mod cast;
pub mod changes;
pub mod crowd;
pub mod field;
mod flights;
mod herd;
mod history;
pub mod lifecycle;
pub mod play;
pub mod programs;
mod resting;
pub mod world;
