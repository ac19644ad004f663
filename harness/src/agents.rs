//! What is known of each generation of the agent: how its configuration is spelled, what it insists on, what it serves.
//! Data beside the image sources, so that no manifest, no scenario and no backend knows it.
//!
//! Manifests and scenarios have settings in the words of the newer documents; [`configuration`] gives the file that an
//! agent starts with. Of a program whose generation nobody named, the file is one for all: each passes over what it
//! does not know.

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

/// A generation of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Generation {
    /// As its newer documents describe it; plexlab's own is one.
    #[serde(rename = "current")]
    Current,
    /// The public agent of February 2026 (contract: plexd).
    #[serde(rename = "2026-02")]
    February2026,
}

/// What is known of a generation.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Its name on the command line.
    pub name: &'static str,
    /// Whether settings keep their underscores below the file's first level.
    pub underscores: bool,
    /// What must be in the file, though the agent then takes another value: section, key, value.
    pub insists_on: &'static [(&'static str, &'static str, &'static str)],
    /// Whether it serves `/healthz` and `/readyz`.
    pub probes: bool,
    /// Whether its Kubernetes half is part of the program.
    pub kubernetes: bool,
}

const CURRENT: Facts =
    Facts { name: "current", underscores: true, insists_on: &[], probes: true, kubernetes: true };

const FEBRUARY_2026: Facts = Facts {
    name: "2026-02",
    underscores: false,
    insists_on: &[
        ("registration", "datadir", "overwritten-by-data_dir"),
        ("node_api", "datadir", "overwritten-by-data_dir"),
        ("heartbeat", "nodeid", "set-at-registration"),
    ],
    probes: false,
    kubernetes: false,
};

impl Generation {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Current, Self::February2026];

    /// What is known of it.
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::Current => &CURRENT,
            Self::February2026 => &FEBRUARY_2026,
        }
    }
}

/// There is no such generation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no generation `{0}` of the agent; the generations are {known}", known = names())]
pub struct UnknownGeneration(String);

fn names() -> String {
    Generation::ALL.map(|generation| generation.facts().name).join(", ")
}

impl FromStr for Generation {
    type Err = UnknownGeneration;

    fn from_str(text: &str) -> Result<Self, UnknownGeneration> {
        let found = Self::ALL.into_iter().find(|generation| generation.facts().name == text);
        found.ok_or_else(|| UnknownGeneration(text.to_owned()))
    }
}

/// The configuration file that starts an agent of any of these generations with these settings.
pub fn configuration(settings: &Value, generations: &[Generation]) -> Value {
    let mut file = json!({});
    for generation in generations {
        let facts = generation.facts();
        for (section, key, value) in facts.insists_on {
            merge(&mut file, &json!({*section: {*key: value}}));
        }
        merge(&mut file, &if facts.underscores { settings.clone() } else { without_underscores(settings) });
    }
    file
}

/// The same settings; the keys below the first level have no underscores.
fn without_underscores(settings: &Value) -> Value {
    let section = |value: &Value| match value {
        Value::Object(keys) => {
            keys.iter().map(|(key, value)| (key.replace('_', ""), value.clone())).collect()
        }
        other => other.clone(),
    };
    match settings {
        Value::Object(sections) => {
            sections.iter().map(|(name, value)| (name.clone(), section(value))).collect()
        }
        other => other.clone(),
    }
}

/// Puts settings into others, section by section.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Value {
        json!({"data_dir": "/d", "api": {"base_url": "http://x"}, "heartbeat": {"interval": "1s"}})
    }

    #[test]
    fn each_generation_gets_its_own_spelling_and_what_it_insists_on() {
        assert_eq!(configuration(&settings(), &[Generation::Current]), settings());
        let file = configuration(&settings(), &[Generation::February2026]);
        assert_eq!(file["api"], json!({"baseurl": "http://x"}));
        assert_eq!(file["heartbeat"], json!({"interval": "1s", "nodeid": "set-at-registration"}));
        assert_eq!(file["data_dir"], "/d", "the first level keeps its underscores");
    }

    #[test]
    fn one_file_serves_all() {
        let file = configuration(&settings(), &Generation::ALL);
        assert_eq!(file["api"], json!({"base_url": "http://x", "baseurl": "http://x"}));
        assert!(file["registration"]["datadir"].is_string());
    }

    #[test]
    fn a_generation_is_known_by_its_name_only() {
        assert_eq!("2026-02".parse(), Ok(Generation::February2026));
        let error = "2025".parse::<Generation>().unwrap_err().to_string();
        assert!(error.contains("current, 2026-02"), "{error}");
    }

    /// Who applies `kind/plexd/` or installs the chart without plexlab gets one file for all.
    #[test]
    fn the_manifests_of_the_agent_alone_have_what_each_generation_needs() {
        let map: Value = serde_norway::from_str(include_str!("../../kind/plexd/configmap.yaml")).unwrap();
        let file: Value = serde_norway::from_str(map["data"]["config.yaml"].as_str().unwrap()).unwrap();
        for generation in Generation::ALL {
            for (section, key, _) in generation.facts().insists_on {
                assert!(file[section][key].is_string(), "{}: {section}.{key}", generation.facts().name);
            }
        }
        assert!(file["api"]["baseurl"].is_string() && file["api"]["baseurl"] == file["api"]["base_url"]);
    }
}
