//! The custom resource definitions that an External Secrets Operator other than the stand-in works with.
//!
//! The stand-in's definitions (`kind/stack/external-secrets-crds.yaml`) cover the kinds that it serves. The real
//! operator also watches others, and ends if one of them is not defined. `--crds FILE` installs the operator's
//! own; without it those kinds are defined here without a schema.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::stack::manifests::parse;

/// What the stack itself makes objects of, so what any set of definitions must hold.
const NEEDED: [&str; 3] = [
    "externalsecrets.external-secrets.io",
    "secretstores.external-secrets.io",
    "clustersecretstores.external-secrets.io",
];

/// Group, version, plural, kind and scope of what the real operator (2.9) watches and the stand-in does not define.
const WATCHED_TOO: [(&str, &str, &str, &str, &str); 1] =
    [("generators.external-secrets.io", "v1alpha1", "generatorstates", "GeneratorState", "Namespaced")];

/// The definitions of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Definitions {
    path: PathBuf,
    #[serde(skip)]
    objects: Arc<Vec<Value>>,
}

/// Why a file cannot serve as the operator's definitions.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` does not hold the operator's definitions: {why}; give the operator's CRD bundle")]
pub struct DefinitionsError {
    /// The path that was given.
    path: String,
    /// What is wrong with it.
    why: String,
}

impl Definitions {
    /// Reads a file of CustomResourceDefinitions.
    ///
    /// # Errors
    /// When the file cannot be read, holds anything else, or lacks a kind that the stack needs.
    pub fn read(path: &Path) -> Result<Self, DefinitionsError> {
        let refuse = |why: String| DefinitionsError { path: path.display().to_string(), why };
        let absolute = std::fs::canonicalize(path).map_err(|error| refuse(error.to_string()))?;
        let text = std::fs::read_to_string(&absolute).map_err(|error| refuse(error.to_string()))?;
        let objects = parse(&text).map_err(|error| refuse(error.to_string()))?;
        if let Some(other) = objects.iter().find(|object| object["kind"] != "CustomResourceDefinition") {
            return Err(refuse(format!("there is an object of kind {} in it", other["kind"])));
        }
        let lacks = |name: &&&str| !objects.iter().any(|object| object["metadata"]["name"] == **name);
        if let Some(name) = NEEDED.iter().find(lacks) {
            return Err(refuse(format!("it lacks {name}")));
        }
        Ok(Self { path: absolute, objects: Arc::new(objects) })
    }

    /// The file's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The definitions, in the file's order.
    pub fn objects(&self) -> Vec<Value> {
        self.objects.to_vec()
    }
}

/// Definitions without a schema, for the kinds that the real operator watches and the stand-in does not define.
pub fn watched_too() -> Vec<Value> {
    WATCHED_TOO
        .iter()
        .map(|(group, version, plural, kind, scope)| {
            json!({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{group}")},
                "spec": {
                    "group": group,
                    "names": {
                        "kind": kind,
                        "listKind": format!("{kind}List"),
                        "plural": plural,
                        "singular": kind.to_lowercase(),
                    },
                    "scope": scope,
                    "versions": [{
                        "name": version,
                        "served": true,
                        "storage": true,
                        "subresources": {"status": {}},
                        "schema": {"openAPIV3Schema": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": true,
                        }},
                    }],
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crds.yaml");
        std::fs::write(&path, content).unwrap();
        (directory, path)
    }

    #[rstest]
    #[case("kind: ConfigMap", "of kind \"ConfigMap\"")]
    #[case("a: [", "does not hold the operator's definitions")]
    #[case("---\n", "it lacks externalsecrets.external-secrets.io")]
    fn a_file_without_the_operators_definitions_is_refused(#[case] content: &str, #[case] why: &str) {
        let (_directory, path) = file(content);
        let message = Definitions::read(&path).unwrap_err().to_string();
        assert!(message.contains(why), "{message}");
    }

    #[test]
    fn a_missing_file_is_refused() {
        let message = Definitions::read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(message.contains("`/no/such/file`"), "{message}");
    }

    #[test]
    fn the_stand_ins_own_definitions_can_be_given() {
        let (_directory, path) = file(include_str!("../../../kind/stack/external-secrets-crds.yaml"));
        let own = Definitions::read(&path).unwrap();
        let defines = |name: &&str| own.objects().iter().any(|object| object["metadata"]["name"] == **name);
        assert!(NEEDED.iter().all(defines));
        assert_eq!(own.objects().len(), 12);
    }
}
