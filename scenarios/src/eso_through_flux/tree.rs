//! The files of the repository that Flux looks after: what the specification finds there, what it has people write, and
//! the correction without which it does not work. The manifests in `tree/` are as printed there, but for
//! `gotk-sync.yaml`, which the specification only names. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// Files to write, or (none) to remove.
pub type Changes = BTreeMap<String, Option<String>>;

/// The sites that Flux looks after already.
const SITES: [&str; 7] = [
    "kevinryan-io",
    "brand-kevinryan-io",
    "aiimmigrants-com",
    "specmcp-ai",
    "sddbook-com",
    "distributedequity-org",
    "docs-kevinryan-io",
];

/// The specification's own list of Flux's files.
const LIST: &str = include_str!("tree/kustomization.yaml");
/// The line that the specification adds to it.
const ADDED: &str = "  - external-secrets-sync.yaml\n";
/// The specification's Kustomization.
const SYNC: &str = include_str!("tree/external-secrets-sync.yaml");
/// Where the list and the Kustomizations are.
const FLUX: &str = "k8s/flux-system";
/// Where the specification's four files go.
const OPERATOR: &str = "k8s/external-secrets";

/// `gotk-sync.yaml`.
pub const SOURCE: &str = include_str!("tree/gotk-sync.yaml");
/// The specification's ExternalSecret for a test.
pub const TEST: &str = include_str!("tree/test-kv-access.yaml");

fn changes<const N: usize>(files: [(String, String); N]) -> Changes {
    files.into_iter().map(|(path, text)| (path, Some(text))).collect()
}

/// What is there before: Flux itself, and the sites.
pub fn before(components: &str) -> Changes {
    let mut files = changes([
        (format!("{FLUX}/gotk-components.yaml"), components.to_owned()),
        (format!("{FLUX}/gotk-sync.yaml"), SOURCE.to_owned()),
        (format!("{FLUX}/kustomization.yaml"), LIST.replace(ADDED, "")),
    ]);
    for site in SITES {
        let sync = SYNC.replace("external-secrets", site);
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {site}\n");
        files.insert(format!("{FLUX}/{site}-sync.yaml"), Some(sync));
        files.insert(format!("k8s/{site}/namespace.yaml"), Some(namespace));
    }
    files
}

/// What the specification has people commit, all together.
pub fn as_printed() -> Changes {
    let title = "# Spec 0003: External Secrets Operator\n\nCarried out by the scenario `eso-through-flux`.\n";
    changes([
        (format!("{OPERATOR}/namespace.yaml"), include_str!("tree/namespace.yaml").to_owned()),
        (format!("{OPERATOR}/helmrepository.yaml"), include_str!("tree/helmrepository.yaml").to_owned()),
        (format!("{OPERATOR}/helmrelease.yaml"), include_str!("tree/helmrelease.yaml").to_owned()),
        (
            format!("{OPERATOR}/clustersecretstore.yaml"),
            include_str!("tree/clustersecretstore.yaml").to_owned(),
        ),
        (format!("{FLUX}/external-secrets-sync.yaml"), SYNC.to_owned()),
        (format!("{FLUX}/kustomization.yaml"), LIST.to_owned()),
        (".sdd/specification/spec-0003-external-secrets-operator.md".to_owned(), title.to_owned()),
        (
            ".sdd/provenance/spec-0003-external-secrets-operator.provenance.md".to_owned(),
            include_str!("tree/provenance.md").to_owned(),
        ),
    ])
}

/// The kinds that have to be applied before the store, as kustomize-controller's flag names them.
pub const FIRST: &str = "source.toolkit.fluxcd.io/HelmRepository,helm.toolkit.fluxcd.io/HelmRelease";

/// The smallest correction: the Helm kinds are a stage of their own, and a failed reconcile is tried again soon, not
/// after the interval of ten minutes.
pub fn corrected() -> Changes {
    let patch = format!(
        "patches:\n  - target:\n      kind: Deployment\n      name: kustomize-controller\n    patch: |\n      - op: add\n        \
         path: /spec/template/spec/containers/0/args/-\n        value: --custom-apply-stage-kinds={FIRST}\n"
    );
    let sync = SYNC.replace("  interval: 10m0s\n", "  interval: 10m0s\n  retryInterval: 2s\n");
    changes([
        (format!("{FLUX}/kustomization.yaml"), format!("{LIST}{patch}")),
        (format!("{FLUX}/external-secrets-sync.yaml"), sync),
    ])
}

/// The store leaves the tree.
pub fn without_store() -> Changes {
    Changes::from([(format!("{OPERATOR}/clustersecretstore.yaml"), None)])
}

/// All that the specification added leaves the tree.
pub fn without_operator() -> Changes {
    let mut files = changes([(format!("{FLUX}/kustomization.yaml"), LIST.replace(ADDED, ""))]);
    for file in ["namespace.yaml", "helmrepository.yaml", "helmrelease.yaml"] {
        files.insert(format!("{OPERATOR}/{file}"), None);
    }
    files.insert(format!("{FLUX}/external-secrets-sync.yaml"), None);
    files
}

/// The documents of a file.
///
/// # Errors
/// When it is not YAML.
pub fn documents(text: &str) -> Result<Vec<Value>, serde_norway::Error> {
    use serde::Deserialize as _;
    serde_norway::Deserializer::from_str(text).map(Value::deserialize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corrected_list_is_the_printed_one_with_a_patch() {
        let corrected = corrected()[&format!("{FLUX}/kustomization.yaml")].clone().unwrap();
        let list: Value = serde_norway::from_str(&corrected).unwrap();
        let printed: Value = serde_norway::from_str(LIST).unwrap();
        assert_eq!(list["resources"], printed["resources"]);
        let patch: Value = serde_norway::from_str(list["patches"][0]["patch"].as_str().unwrap()).unwrap();
        assert_eq!(patch[0]["value"], format!("--custom-apply-stage-kinds={FIRST}"));
        let sync = super::corrected()[&format!("{FLUX}/external-secrets-sync.yaml")].clone().unwrap();
        assert!(sync.contains("retryInterval: 2s"));
    }

    #[test]
    fn the_tree_has_the_specifications_files_and_no_others() {
        let printed = as_printed();
        let operator: Vec<&str> =
            printed.keys().filter_map(|path| path.strip_prefix("k8s/external-secrets/")).collect();
        assert_eq!(
            operator,
            ["clustersecretstore.yaml", "helmrelease.yaml", "helmrepository.yaml", "namespace.yaml"]
        );
        assert!(!printed.keys().any(|path| path.ends_with(".tf")));
        let list = before("")[&format!("{FLUX}/kustomization.yaml")].clone().unwrap();
        assert!(!list.contains("external-secrets"));
        let record =
            printed[".sdd/provenance/spec-0003-external-secrets-operator.provenance.md"].clone().unwrap();
        for section in [
            "Actions Taken",
            "Decisions Made",
            "Deviations from Spec",
            "Artifacts Produced",
            "Validation Results",
        ] {
            assert!(record.contains(&format!("## {section}\n")), "{section}");
        }
    }
}
