//! What the harness sees by itself and puts into the timeline: the cluster's events and pods, the requests at
//! the stand-ins, rows of the control plane's outbox; and what programs complained about.

pub mod cluster;
pub mod complaints;
pub mod requests;
pub mod rows;
