//! The stack's manifests (`kind/stack/`, compiled in), and the edits that image sources ask for.

use serde_json::{Value, json};

use crate::agents;
use crate::images::{Component, ImageSource, Images};
use crate::stack::definitions::watched_too;

/// The file with the definitions of External Secrets.
const DEFINITIONS: &str = "external-secrets-crds.yaml";

/// The manifest files in the order of `kustomization.yaml`, each with the component it belongs to.
const FILES: &[(&str, Option<Component>, &str)] = &[
    ("namespaces.yaml", None, include_str!("../../../kind/stack/namespaces.yaml")),
    ("postgres.yaml", Some(Component::Postgres), include_str!("../../../kind/stack/postgres.yaml")),
    ("dex.yaml", Some(Component::Idp), include_str!("../../../kind/stack/dex.yaml")),
    ("plexsphere.yaml", Some(Component::ControlPlane), include_str!("../../../kind/stack/plexsphere.yaml")),
    ("vault.yaml", Some(Component::Vault), include_str!("../../../kind/stack/vault.yaml")),
    (
        DEFINITIONS,
        Some(Component::ExternalSecrets),
        include_str!("../../../kind/stack/external-secrets-crds.yaml"),
    ),
    (
        "external-secrets.yaml",
        Some(Component::ExternalSecrets),
        include_str!("../../../kind/stack/external-secrets.yaml"),
    ),
    (
        "cluster-secret-store.yaml",
        Some(Component::ExternalSecrets),
        include_str!("../../../kind/stack/cluster-secret-store.yaml"),
    ),
    (
        "crossplane-crds.yaml",
        Some(Component::Crossplane),
        include_str!("../../../kind/stack/crossplane-crds.yaml"),
    ),
    ("crossplane.yaml", Some(Component::Crossplane), include_str!("../../../kind/stack/crossplane.yaml")),
    (
        "../blueprints/cloudless/xrd.yaml",
        Some(Component::Crossplane),
        include_str!("../../../kind/blueprints/cloudless/xrd.yaml"),
    ),
    (
        "../blueprints/cloudless/composition.yaml",
        Some(Component::Crossplane),
        include_str!("../../../kind/blueprints/cloudless/composition.yaml"),
    ),
    (
        "../blueprints/cloudless/provider-config.yaml",
        Some(Component::Crossplane),
        include_str!("../../../kind/blueprints/cloudless/provider-config.yaml"),
    ),
    (
        "../plexd/crds/plexdnodestate-crd.yaml",
        // Of every stack: a scenario that installs the agent finds them served.
        None,
        include_str!("../../../kind/plexd/crds/plexdnodestate-crd.yaml"),
    ),
    (
        "../plexd/crds/plexdhook-crd.yaml",
        // Of every stack: a scenario that installs the agent finds them served.
        None,
        include_str!("../../../kind/plexd/crds/plexdhook-crd.yaml"),
    ),
    ("plexd.yaml", Some(Component::Plexd), include_str!("../../../kind/stack/plexd.yaml")),
];

/// A manifest cannot be read. With the files compiled in, only a change of `kind/stack/` can cause it.
#[derive(Debug, thiserror::Error)]
#[error("read the manifest {file}: {source}")]
pub struct ManifestError {
    file: &'static str,
    source: serde_norway::Error,
}

/// The objects of one file, edited for the chosen image sources.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// File name below `kind/stack/`.
    pub file: &'static str,
    /// Whose objects these are; none for the namespaces.
    pub component: Option<Component>,
    /// The objects in order.
    pub objects: Vec<Value>,
}

/// All manifests, edited for `images`; without those of what runs elsewhere.
///
/// # Errors
/// [`ManifestError`] when a file is not YAML.
pub fn load(images: &Images) -> Result<Vec<Manifest>, ManifestError> {
    let here = |component: &Option<Component>| component.is_none_or(|one| !images.is_elsewhere(one));
    FILES
        .iter()
        .filter(|(_, component, _)| here(component))
        .map(|(file, component, text)| {
            let mut objects = parse_file((file, text))?;
            if *file == DEFINITIONS {
                objects = definitions(objects, images);
            }
            if let Some(component) = component {
                for object in &mut objects {
                    adapt(object, *component, images);
                    if *component == Component::Plexd {
                        configure(object, images);
                    }
                }
            }
            Ok(Manifest { file, component: *component, objects })
        })
        .collect()
}

/// The objects of a file that is compiled in.
///
/// # Errors
/// [`ManifestError`] when it is not YAML.
pub fn parse_file((file, text): (&'static str, &str)) -> Result<Vec<Value>, ManifestError> {
    parse(text).map_err(|source| ManifestError { file, source })
}

/// The definitions that the chosen External Secrets Operator gets.
fn definitions(mut own: Vec<Value>, images: &Images) -> Vec<Value> {
    match images.definitions() {
        Some(chosen) => chosen.objects(),
        None if images.is_stand_in(Component::ExternalSecrets) => own,
        None => {
            own.extend(watched_too());
            own
        }
    }
}

/// The objects of a YAML text with one or more documents; empty documents are passed over.
///
/// # Errors
/// When a document is not YAML.
pub fn parse(text: &str) -> Result<Vec<Value>, serde_norway::Error> {
    use serde::Deserialize as _;
    let documents = serde_norway::Deserializer::from_str(text).map(Value::deserialize);
    documents.filter(|document| !matches!(document, Ok(Value::Null))).collect()
}

/// What a program that is not plexlab's own needs changed. Data about the real programs, kept here so that
/// no scenario and no backend knows it.
fn adapt(object: &mut Value, component: Component, images: &Images) {
    let source = images.source(component);
    if *source == ImageSource::StandIn {
        return;
    }
    let Some(containers) = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut)
    else {
        return;
    };
    for container in containers {
        if let ImageSource::Image(reference) = source {
            container["image"] = json!(reference);
        }
        // The real operator serves metrics on every address at port 8080 unless told otherwise.
        if component == Component::ExternalSecrets
            && let Some(arguments) = container["args"].as_array_mut()
        {
            arguments.push(json!("--metrics-addr=$(POD_IP):8080"));
        }
        // Without probes its pod is ready when it runs.
        if component == Component::Plexd
            && images.generations().iter().any(|generation| !generation.facts().probes)
            && let Some(container) = container.as_object_mut()
        {
            container.retain(|key, _| !key.ends_with("Probe"));
        }
    }
}

/// Has the agent's ConfigMap hold the file that the chosen agent starts with, and that leads to the control plane.
fn configure(object: &mut Value, images: &Images) {
    let Some(Value::String(file)) = object.pointer_mut("/data/config.yaml") else { return };
    let Ok(mut settings) = serde_norway::from_str::<Value>(file) else { return };
    if let Some(url) = images.remote_control_plane() {
        settings["api"]["base_url"] = json!(url);
    }
    if let Ok(text) = serde_norway::to_string(&agents::configuration(&settings, images.generations())) {
        *file = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::Generation;

    #[test]
    fn an_agent_that_is_not_ours_gets_the_file_that_it_starts_with() {
        let file = |images: &Images| {
            let manifests = load(images).unwrap();
            let objects = manifests.into_iter().flat_map(|manifest| manifest.objects);
            let mut found =
                objects.filter_map(|object| object["data"]["config.yaml"].as_str().map(str::to_owned));
            found.next().unwrap()
        };
        let ours = file(&Images::default());
        assert!(ours.contains("base_url") && !ours.contains("baseurl") && !ours.contains("nodeid"), "{ours}");
        let unknown = Images::new(["plexd=bin:/bin/sh".parse().unwrap()]);
        let theirs = file(&unknown);
        assert!(
            theirs.contains("base_url") && theirs.contains("baseurl") && theirs.contains("nodeid"),
            "{theirs}"
        );
        let old = file(&unknown.with_agent(Some(Generation::February2026)));
        assert!(old.contains("baseurl") && !old.contains("base_url"), "{old}");
    }

    #[test]
    fn a_control_plane_elsewhere_is_what_the_agent_is_told_of_and_not_applied() {
        let images = Images::new(["control-plane=url:https://staging.example".parse().unwrap()]);
        let manifests = load(&images).unwrap();
        let objects: Vec<&Value> = manifests.iter().flat_map(|manifest| &manifest.objects).collect();
        let texts = objects.iter().filter_map(|object| object["data"]["config.yaml"].as_str());
        assert!(
            texts.clone().count() == 1
                && texts.clone().all(|text| text.contains("base_url: https://staging.example\n"))
        );
        let names: Vec<&str> =
            objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
        assert!(
            names.contains(&"vault")
                && !names.iter().any(|name| ["plexsphere", "postgres", "dex"].contains(name)),
            "{names:?}"
        );
    }

    #[test]
    fn every_file_of_the_kustomization_is_loaded_in_its_order() {
        let listed = |text: &str| -> Vec<String> {
            let kustomization: Value = serde_norway::from_str(text).unwrap();
            serde_json::from_value(kustomization["resources"].clone()).unwrap()
        };
        let folders = [
            (
                "../blueprints/cloudless",
                include_str!("../../../kind/blueprints/cloudless/kustomization.yaml"),
            ),
            ("../plexd/crds", include_str!("../../../kind/plexd/crds/kustomization.yaml")),
        ];
        let wanted =
            listed(include_str!("../../../kind/stack/kustomization.yaml")).into_iter().flat_map(|file| {
                match folders.iter().find(|(folder, _)| *folder == file) {
                    Some((folder, text)) => {
                        listed(text).iter().map(|file| format!("{folder}/{file}")).collect()
                    }
                    None => vec![file],
                }
            });
        let loaded: Vec<_> = FILES.iter().map(|(file, ..)| (*file).to_owned()).collect();
        assert_eq!(wanted.collect::<Vec<_>>(), loaded);
    }

    #[test]
    fn every_component_has_its_image_in_its_manifest() {
        let manifests = load(&Images::default()).unwrap();
        for component in Component::ALL {
            let found =
                manifests.iter().filter(|manifest| manifest.component == Some(component)).any(|manifest| {
                    serde_json::to_string(&manifest.objects).unwrap().contains(component.image())
                });
            assert!(found, "{component}");
        }
    }

    #[test]
    fn an_agent_that_is_not_ours_runs_without_probes() {
        let images = Images::new(["plexd=bin:/bin/sh".parse().unwrap()]);
        let manifests = load(&images).unwrap();
        let plexd = manifests.iter().find(|manifest| manifest.file == "plexd.yaml").unwrap();
        assert!(!serde_json::to_string(&plexd.objects).unwrap().contains("Probe"));
    }

    /// Names of the definitions that a choice of images brings.
    fn defined(images: &Images) -> Vec<String> {
        let manifests = load(images).unwrap();
        let definitions = manifests.into_iter().find(|manifest| manifest.file == DEFINITIONS).unwrap();
        definitions
            .objects
            .iter()
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn an_operator_that_is_not_ours_gets_every_kind_that_it_watches() {
        let images = Images::new(["external-secrets=bin:/bin/sh".parse().unwrap()]);
        let (own, more) = (defined(&Images::default()), defined(&images));
        assert!(own.iter().all(|name| more.contains(name)), "{more:?}");
        for name in ["pushsecrets", "clusterpushsecrets", "clusterexternalsecrets"] {
            assert!(more.contains(&format!("{name}.external-secrets.io")), "{more:?}");
        }
        assert!(more.contains(&"generatorstates.generators.external-secrets.io".to_owned()), "{more:?}");
    }

    #[test]
    fn definitions_that_were_chosen_take_the_place_of_all_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crds.yaml");
        std::fs::write(&path, include_str!("../../../kind/stack/external-secrets-crds.yaml")).unwrap();
        let chosen = crate::stack::definitions::Definitions::read(&path).unwrap();
        let images = Images::new(["external-secrets=bin:/bin/sh".parse().unwrap()]);
        let count = chosen.objects().len();
        assert_eq!(defined(&images.with_definitions(Some(chosen))).len(), count);
    }
}
