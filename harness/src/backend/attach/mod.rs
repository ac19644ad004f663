//! The `kubeconfig` backend: a stack on a cluster that is already there.
//!
//! `context` chooses the cluster and refuses one that was not meant, `rbac` lists what plexlab may do there, `ownership`
//! marks what the stack makes and removes that and nothing else, `forward` reaches its Services, `logs` keeps its
//! containers' logs, `cluster` puts these together.

pub mod cluster;
pub mod context;
pub mod forward;
mod logs;
pub mod ownership;
pub mod rbac;
