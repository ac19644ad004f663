//! The part of a live race that is about a provisioned Resource: brokers held at their gates with views that are behind,
//! a cluster whose side the race plays, and watchers.
//!
//! Each broker is in a control plane of its own. The cluster is an API server without nodes and controllers: the race has
//! the substrate come up, fail and go, and registers for the enrolment Job. A broker looks again after every step and is
//! held before whatever it decides to do; what its watch says is held, too, until a schedule lets its view catch up.
//!
//! Not here: a restart of the API server, which has what it holds in memory, and a view that begins anew; the simulation has
//! that.
//!
//! Owns: the cluster ([`cluster`]), what the rows say ([`rows`]), where a broker is ([`broker`]), the steps ([`life`]) and
//! when they are over (`resting`). Does not own: people's requests, and what breaks around all races.

pub mod broker;
pub mod cluster;
pub(super) mod life;
mod resting;
pub mod rows;
