//! The External Secrets integration of vCluster: a published page, with each of its manifests and each of its common
//! issues.
//!
//! [`scenario`] is the script, [`page`] the manifests as printed and what has to be changed in them, [`ground`] the host,
//! its stores and the virtual cluster.

pub mod ground;
pub mod page;
pub mod scenario;
