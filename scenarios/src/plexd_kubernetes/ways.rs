//! How pods reach what the suite itself serves, which listens on this machine's loopback only.

use std::net::SocketAddr;

use plexlab_harness::relay::{Relay, Way};
use plexlab_harness::run::Failure;

/// One of the two.
#[derive(Debug)]
pub enum Ways {
    /// Pods are processes of this machine.
    Direct,
    /// Pods are in containers: through a relay in their cluster.
    Through(Relay),
}

/// Something that pods reach, as long as this lives.
#[derive(Debug)]
pub struct Reached {
    /// Where it is for pods.
    pub address: SocketAddr,
    _way: Option<Way>,
}

impl Ways {
    /// The way to what listens at `local`.
    ///
    /// # Errors
    /// When the relay is not there.
    pub async fn to(&self, local: SocketAddr) -> Result<Reached, Failure> {
        match self {
            Ways::Direct => Ok(Reached { address: local, _way: None }),
            Ways::Through(relay) => {
                let way = relay.way(local).await.map_err(|error| Failure::error("reach the suite", error))?;
                Ok(Reached { address: way.address, _way: Some(way) })
            }
        }
    }

    /// The names by which pods know what the suite serves.
    pub fn names(&self) -> Vec<String> {
        let here = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        match self {
            Ways::Direct => here.into(),
            Ways::Through(relay) => here.into_iter().chain([relay.address().to_string()]).collect(),
        }
    }
}
