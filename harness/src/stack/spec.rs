//! What a user asks for: a name, a number of nodes, a backend, image sources.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::backend::BackendKind;
use crate::backend::kind::cluster::PREFIX as CLUSTER_PREFIX;
use crate::backend::options::BackendOptions;
use crate::clouds::Clouds;
use crate::images::Images;

/// Most nodes that one stack can have: what the addresses of a stack suffice for.
pub const MOST_NODES: u32 = 1000;

/// A stack's name: lower-case letters, digits and inner dashes, at most 40 characters. It names a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct StackName(String);

/// A name that cannot name a stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot name a stack: use 1 to 40 lower-case letters, digits and dashes, \
     starting and ending with a letter or digit"
)]
pub struct InvalidName(String);

impl FromStr for StackName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = (1..=40).contains(&bytes.len())
            && bytes.iter().all(|byte| word(*byte) || *byte == b'-')
            && word(bytes[0])
            && word(bytes[bytes.len() - 1]);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidName(text.to_owned())) }
    }
}

impl StackName {
    /// The name of this process's stack for a repetition of a scenario: `run-<process id>-<repetition>`.
    pub fn of_run(repetition: u32) -> Self {
        Self(format!("run-{}-{repetition}", std::process::id()))
    }

    /// Whether a `run` gave this name.
    pub fn is_of_run(&self) -> bool {
        let numbers = self.0.strip_prefix("run-").and_then(|numbers| numbers.split_once('-'));
        numbers.is_some_and(|(pid, nth)| pid.parse::<u32>().is_ok() && nth.parse::<u32>().is_ok())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the node agent is part of what comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agent {
    /// The DaemonSet is applied with the rest; its pods wait for their token.
    Deployed,
    /// A scenario applies it when its script says so.
    LeftToScenario,
}

/// How the External Secrets Operator gets into the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    /// With the rest of the stack.
    #[default]
    Applied,
    /// By Flux, which comes up in its place; what it is to bring is committed later. The stack has a cloud then, whose
    /// proxy leads to the chart as well.
    ByFlux,
}

impl Operator {
    fn is_applied(&self) -> bool {
        *self == Self::Applied
    }
}

/// Whether the control plane is also published at `http://localhost:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// At this port of localhost if it is free, else at one that the system chooses.
    Prefer(u16),
    /// Nowhere: addresses chosen by the system only.
    Nowhere,
}

/// A stack as described; nothing of it exists yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StackSpec {
    /// Its name.
    pub name: StackName,
    /// Number of nodes, 1 to [`MOST_NODES`].
    pub nodes: u32,
    /// What serves the Kubernetes API and runs images.
    pub backend: BackendKind,
    /// What else was chosen for the backend.
    #[serde(skip_serializing_if = "BackendOptions::is_default")]
    pub options: BackendOptions,
    /// What runs for each component.
    pub images: Images,
    /// Clouds whose secret stores it has besides Vault.
    #[serde(skip_serializing_if = "Clouds::is_empty")]
    pub clouds: Clouds,
    /// How the External Secrets Operator gets into it.
    #[serde(skip_serializing_if = "Operator::is_applied")]
    pub operator: Operator,
    /// Whether plexd is part of it.
    pub agent: Agent,
    /// Where the control plane is published.
    pub publish: Publish,
}

impl StackSpec {
    /// The nodes' names, as kind gives them: one control-plane node (that also runs pods), then workers.
    pub fn node_names(&self) -> Vec<String> {
        // kind names nodes after the cluster.
        let prefix = if self.backend == BackendKind::Kind { CLUSTER_PREFIX } else { "" };
        (0..self.nodes)
            .map(|index| match index {
                0 => format!("{prefix}{}-control-plane", self.name),
                1 => format!("{prefix}{}-worker", self.name),
                _ => format!("{prefix}{}-worker{index}", self.name),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["", ".", "..", "a/b", "A", "-a", "a-", "a b", &"a".repeat(41)] {
            assert!(name.parse::<StackName>().is_err(), "{name}");
        }
        for name in ["a", "dev", "run-12-3"] {
            assert_eq!(name.parse::<StackName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_runs_name_is_told_from_a_persons() {
        assert!(StackName::of_run(3).is_of_run());
        for name in ["run-a-1", "run-1", "dev-1-1", "run-1-1-1"] {
            assert!(!name.parse::<StackName>().unwrap().is_of_run(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_path_component(name in ".*") {
            if let Ok(name) = name.parse::<StackName>() {
                let path = std::path::Path::new("/root").join(name.as_str());
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/root")));
            }
        }
    }
}
