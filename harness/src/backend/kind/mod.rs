//! The `kind` backend: a cluster of its own in containers, made by the `kind` program on Docker, Podman or nerdctl; from
//! then on it is a cluster that is there ([`super::attach`]).
//!
//! `tool` runs the programs, `engine` finds the container engine and `kind`, `configuration` writes what `kind` reads,
//! `cluster` makes, reuses and deletes, `kept` is the pool of those that outlive their stacks, `images` says how images from archives are named.

pub mod cluster;
mod configuration;
pub mod engine;
pub mod images;
mod kept;
mod tool;
