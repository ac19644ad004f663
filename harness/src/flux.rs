//! Flux in a stack: its objects (`kind/flux/`), the server that it reads from, and the chart of the External Secrets
//! Operator. Does not own: what people commit, which scenarios do.
//!
//! A stack that gets its operator by Flux has a cloud: the charts' repository is reached as a cloud is, by its real
//! address through the stack's proxy.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::images::{Component, Images};
use crate::stack::manifests::{ManifestError, load, parse_file};

/// The host of the charts' repository, as the operator's vendor has it.
pub const CHARTS: &str = "charts.external-secrets.io";
/// The Service of the server of repositories and charts.
pub const SERVER: &str = "git-server";
/// Its port.
pub const SERVER_PORT: u16 = 3000;
/// Where the operator lives; nothing of it is there before Flux brings it.
pub const OPERATOR: &str = "external-secrets";
/// The images of the pods, each with the stand-in's name.
pub const IMAGES: [(&str, &str); 2] = [(FLUX_IMAGE, "flux"), ("plexlab.dev/git-server:dev", "git-server")];
/// The image of Flux's controllers.
pub const FLUX_IMAGE: &str = "plexlab.dev/flux:dev";
/// The names of the containers.
pub const WORKLOADS: [&str; 4] = ["source-controller", "kustomize-controller", "helm-controller", SERVER];

const SERVER_FILE: (&str, &str) = ("git-server.yaml", include_str!("../../kind/flux/git-server.yaml"));

/// File below `kind/flux/` and its content, in the order of `gotk-components.yaml`.
const COMPONENTS: [(&str, &str); 6] = [
    ("crds/gitrepositories.yaml", include_str!("../../kind/flux/crds/gitrepositories.yaml")),
    ("crds/helmcharts.yaml", include_str!("../../kind/flux/crds/helmcharts.yaml")),
    ("crds/helmreleases.yaml", include_str!("../../kind/flux/crds/helmreleases.yaml")),
    ("crds/helmrepositories.yaml", include_str!("../../kind/flux/crds/helmrepositories.yaml")),
    ("crds/kustomizations.yaml", include_str!("../../kind/flux/crds/kustomizations.yaml")),
    ("components.yaml", include_str!("../../kind/flux/components.yaml")),
];

/// Files of the chart as they are in `kind/charts/external-secrets/`.
const CHART: [(&str, &str); 5] = [
    ("Chart.yaml", include_str!("../../kind/charts/external-secrets/Chart.yaml")),
    ("values.yaml", include_str!("../../kind/charts/external-secrets/values.yaml")),
    ("templates/crds.yaml", include_str!("../../kind/charts/external-secrets/templates/crds.yaml")),
    ("templates/operator.yaml", include_str!("../../kind/charts/external-secrets/templates/operator.yaml")),
    ("templates/NOTES.txt", include_str!("../../kind/charts/external-secrets/templates/NOTES.txt")),
];

/// The version that `Chart.yaml` names.
const VERSION: &str = "0.20.4";

/// The route by which the proxy leads to the charts.
pub fn route() -> String {
    format!("{CHARTS}={SERVER}.{}.svc.cluster.local:{SERVER_PORT}", crate::clouds::NAMESPACE)
}

/// All objects.
///
/// # Errors
/// [`ManifestError`] when a file is not YAML.
pub fn objects() -> Result<Vec<Value>, ManifestError> {
    let mut objects = Vec::new();
    for file in COMPONENTS.into_iter().chain([SERVER_FILE]) {
        objects.extend(parse_file(file)?);
    }
    Ok(objects)
}

/// `gotk-components.yaml`.
pub fn components() -> String {
    COMPONENTS.map(|(_, content)| content).join("---\n")
}

/// The files of the operator's chart in a version: it installs what the stack itself would, with the image and the
/// definitions that were chosen.
///
/// # Errors
/// [`ManifestError`] when a manifest is not YAML.
pub fn chart(images: &Images, version: &str) -> Result<BTreeMap<String, String>, ManifestError> {
    let mut files: BTreeMap<String, String> =
        CHART.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    if let Some(metadata) = files.get_mut("Chart.yaml") {
        *metadata = metadata.replace(VERSION, version);
    }
    for manifest in load(images)? {
        let path = match manifest.file {
            "external-secrets-crds.yaml" => "files/crds.yaml",
            "external-secrets.yaml" => "files/operator.yaml",
            _ => continue,
        };
        let documents =
            manifest.objects.iter().map(|object| serde_norway::to_string(object).unwrap_or_default());
        files.insert(path.to_owned(), documents.collect::<Vec<_>>().join("---\n"));
    }
    Ok(files)
}

/// Whether an object of the stack's own is one that Flux brings instead.
pub fn is_left_to_flux(component: Option<Component>, object: &Value) -> bool {
    component == Some(Component::ExternalSecrets)
        || object["kind"] == "ClusterSecretStore"
        || object["metadata"]["namespace"] == OPERATOR
        || (object["kind"] == "Namespace" && object["metadata"]["name"] == OPERATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_the_manifests_are_known() {
        let text = serde_json::to_string(&objects().unwrap()).unwrap();
        for (image, _) in IMAGES {
            assert!(text.contains(image), "{image}");
        }
        for name in WORKLOADS {
            assert!(text.contains(&format!("\"name\":\"{name}\"")), "{name}");
        }
    }

    #[test]
    fn the_chart_holds_the_stacks_own_operator() {
        let files = chart(&Images::default(), "0.15.0").unwrap();
        assert!(files["Chart.yaml"].contains("version: 0.15.0") && !files["Chart.yaml"].contains(VERSION));
        assert!(files["files/operator.yaml"].contains(Component::ExternalSecrets.image()));
        assert!(files["files/operator.yaml"].contains("namespace: external-secrets\n"));
        assert!(files["files/operator.yaml"].contains("--concurrent=1\n"));
        assert!(files["files/crds.yaml"].contains("externalsecrets.external-secrets.io"));
    }
}
