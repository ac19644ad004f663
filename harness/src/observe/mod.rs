//! What the harness sees by itself and puts into the timeline: the cluster's events and pods, the requests at
//! the stand-ins, rows of the control plane's outbox.

pub mod cluster;
pub mod requests;
pub mod rows;
