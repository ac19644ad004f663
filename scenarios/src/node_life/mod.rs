//! A node's life after its registration, seen from both sides: the agent's pod and its log, the control plane's rows,
//! answers and record of requests.
//!
//! [`life`] adopts a node and knows both sides of it; the other modules are the scenarios. What the agent says of itself
//! in the same situations, against a control plane that is scripted, the conformance suite judges
//! ([`crate::plexd_kubernetes::scenes`]); [`words`] is what both read in its log.

pub mod clock;
pub mod herd;
pub mod keys;
pub mod leaving;
pub mod life;
pub mod outage;
pub mod stream;
pub mod words;
