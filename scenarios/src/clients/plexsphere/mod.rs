//! The control plane's HTTP API (contract: the published OpenAPI document), as the parties of a scenario use it.
//!
//! [`client`] sends requests with somebody's token and reads problem documents; the other modules have the typed calls
//! of one area each. Bodies hold what scenarios look at, nothing more.

pub mod assignments;
pub mod bootstrap_tokens;
pub mod catalog;
pub mod client;
pub mod identities;
pub mod publishing;
pub mod resources;
pub mod sign_in;
pub mod tenancy;

pub use bootstrap_tokens::{IssuedToken, TokenMetadata};
pub use client::{Plexsphere, PlexsphereError, Problem};
