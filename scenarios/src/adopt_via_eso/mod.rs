//! The how-to "Adopt a Kubernetes cluster via the ESO pattern", step by step: a project owner issues a single-use
//! token, the customer puts it into their secret store, External Secrets makes it a Secret, plexd redeems it.

pub mod adoption;
pub mod lost_reply;
pub mod outages;
pub mod race;
pub mod refused;
pub mod store;
