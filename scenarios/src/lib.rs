//! The scripted scenarios. They see a stack only through public protocols: the Kubernetes API, HTTP, SQL.
//!
//! Owns: the registry ([`registry`]), how a scenario is run on a stack of its own ([`runner`]) and what is kept of a failure ([`evidence`]), the typed clients
//! ([`clients`]), the published API description held against what was exchanged ([`contract`]), which complaints are to
//! be expected ([`allowed`]), what is taken away from a control plane that goes on ([`elsewhere`]), the runner of documents ([`tutorial`]), the conformance suite of the agent on Kubernetes
//! ([`plexd_kubernetes`]), races with real processes ([`live`]) and the scenarios themselves. Does not own:
//! servers, backends, reports.

pub mod adopt_via_eso;
pub mod allowed;
pub mod clients;
pub mod contract;
pub mod elsewhere;
pub mod eso_through_flux;
pub mod evidence;
pub mod lifecycle;
pub mod live;
pub mod node_life;
pub mod plexd_kubernetes;
pub mod provisioning;
pub mod registry;
pub mod runner;
pub mod tutorial;
pub mod vcluster_external_secrets;
