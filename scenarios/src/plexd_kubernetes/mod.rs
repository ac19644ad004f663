//! The DaemonSet reference as an executable conformance suite: one check per statement, against any agent.
//!
//! | module | owns |
//! |---|---|
//! | [`statements`], [`manifests`] | what the reference says, row by row |
//! | [`mutants`] | manifests that only the cluster can tell from the right ones |
//! | [`scenes`] | the set-ups in which statements are judged |
//! | [`ground`], [`agent`] | the cluster, and the agent as a pod |
//! | [`ways`], [`hands`], [`doors`] | how pods reach the suite, and how the suite reaches into pods |
//! | [`control_plane`], [`api_proxy`], [`downgrade`] | what the agent meets: scripted, and remembering |
//! | [`ledger`] | what was found |
//! | [`suite`] | which scenes are played, and what their findings mean together |
//! | [`report`] | Markdown, JSON, JUnit |
//!
//! Nothing here knows which program the agent is.

pub mod agent;
pub mod api_proxy;
pub mod control_plane;
pub mod doors;
pub mod downgrade;
pub mod ground;
pub mod hands;
pub mod ledger;
pub mod manifests;
pub mod mutants;
pub mod report;
pub mod scenes;
pub mod statements;
pub mod suite;
pub mod ways;
