//! The harness: brings a stack up on a backend, watches it, records what happens, takes it down.
//!
//! Owns: the stack's description and plan ([`stack`]), cluster backends ([`backend`]), clouds beside it ([`clouds`]), image sources
//! ([`images`]) with what is known of agents ([`agents`]), who the owner is at a control plane elsewhere ([`owner`]), where files go ([`paths`]), readiness ([`readiness`]), the record of a run
//! ([`timeline`], [`run`]), stacks born of other stacks ([`snapshot`]), secrets out of every output ([`redact`]), reports ([`report`]) and what the
//! machine offers ([`machine`]), what stands in front of a real component to hold its exchanges up ([`proxy`]), and the ways of pods in containers to this
//! machine ([`relay`]).
//!
//! Does not own: anything about plexsphere's API, and no scenario.

pub mod agents;
pub mod backend;
pub mod clouds;
pub mod flux;
pub mod images;
pub mod machine;
pub mod observe;
pub mod oci;
pub mod owner;
pub mod paths;
mod place;
pub mod progress;
pub mod proxy;
pub mod readiness;
pub mod redact;
pub mod relay;
pub mod report;
pub mod run;
pub mod snapshot;
pub mod stack;
pub mod timeline;
pub mod vcluster;
