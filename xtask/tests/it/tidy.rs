//! The rules of the workspace that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

/// Longest Rust file. About 600 is the aim; a little room avoids splitting for the sake of a line.
const LONGEST: usize = 700;

/// The layers from top to bottom. A crate may depend on its own layer's fixtures and on lower layers.
fn layer(package: &str) -> usize {
    match package {
        "xtask" => 0,
        "plexlab-scenarios" => 1,
        "plexlab-harness" => 2,
        "plexlab-fixtures" => 3,
        // A virtual cluster holds an API server and its controllers.
        "plexlab-vcluster" => 4,
        // Knows the decisions of the control plane, not the control plane.
        "plexlab-race" => 6,
        "plexlab-lab" | "plexlab-gotemplate" | "plexlab-kube-client" | "plexlab-rules" => 7,
        "plexlab-goyaml" => 8,
        _ => 5,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn dependencies_point_down_and_scenarios_name_no_stand_in() {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let ours: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for package in &metadata.packages {
        let from = package.name.as_str();
        for dependency in
            package.dependencies.iter().filter(|dependency| ours.contains(&dependency.name.as_str()))
        {
            let to = dependency.name.as_str();
            let for_tests = dependency.kind == cargo_metadata::DependencyKind::Development;
            assert!(
                layer(from) < layer(to) || (for_tests && layer(from) == layer(to)),
                "{from} depends on {to}"
            );
            let is_fixture = (3..=5).contains(&layer(to));
            assert!(from != "plexlab-scenarios" || !is_fixture, "scenarios depends on the stand-in {to}");
        }
    }
}

#[test]
fn every_version_is_chosen_in_the_workspace() {
    for manifest in files("Cargo.toml") {
        let text = std::fs::read_to_string(&manifest).unwrap();
        if text.contains("[workspace]") {
            continue;
        }
        let mut in_dependencies = false;
        let fixed: Vec<_> = text
            .lines()
            .filter(|line| {
                if line.starts_with('[') {
                    in_dependencies = line.ends_with("dependencies]");
                }
                in_dependencies
                    && line.contains('"')
                    && !line.starts_with('#')
                    && !line.contains("workspace = true")
            })
            .collect();
        assert!(fixed.is_empty(), "{} chooses versions itself: {fixed:?}", manifest.display());
    }
}

/// The features of each crate that is compiled for these packages; more than one set when the build's own programs use
/// it, too.
fn features(of: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let fixed = ["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p}|{f}"];
    let tree = duct::cmd(env!("CARGO"), fixed.iter().chain(of)).dir(root());
    let tree = tree.stdout_capture().stderr_capture().unchecked().run().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let told = String::from_utf8(tree.stdout).unwrap();
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in told.lines().filter(|line| !line.is_empty()) {
        let (package, set) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        features.entry(package.replace(" (proc-macro)", "")).or_default().insert(set.to_owned());
    }
    features
}

#[test]
fn a_build_of_xtask_and_one_of_everything_share_their_crates() {
    let alone = features(&["--package", "xtask", "--edges", "normal,build"]);
    let all = features(&["--workspace", "--edges", "normal,build,dev"]);
    assert!(alone.len() > 100 && all.len() > alone.len());
    let split: Vec<_> = alone
        .iter()
        .filter(|(package, sets)| all.get(*package) != Some(sets))
        .map(|(package, sets)| format!("{package}: {sets:?} for xtask, {:?} for all", all.get(package)))
        .collect();
    assert!(
        split.is_empty(),
        "compiled twice; give xtask the features that are missing:\n{}",
        split.join("\n")
    );
}

#[test]
fn files_are_short_and_modules_are_named_for_what_they_own() {
    for file in files(".rs") {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(!["common", "utils", "util", "helpers", "misc"].contains(&name), "{}", file.display());
    }
}

#[test]
fn the_stack_installs_the_stand_ins_own_definitions() {
    let external_secrets = [
        "clustersecretstores",
        "secretstores",
        "externalsecrets",
        "clusterexternalsecrets",
        "pushsecrets",
        "clusterpushsecrets",
        "fakes",
        "passwords",
        "uuids",
        "vaultdynamicsecrets",
        "webhooks",
        "clustergenerators",
    ];
    let crossplane = [
        "compositeresourcedefinitions",
        "compositions",
        "compositionrevisions",
        "objects",
        "providerconfigs",
        "clusterproviderconfigs",
    ];
    for (stand_in, names) in [("external-secrets", &external_secrets[..]), ("crossplane", &crossplane)] {
        let own = |name: &&str| {
            let path = root().join(format!("fixtures/{stand_in}/crds/{name}.yaml"));
            format!("---\n{}", std::fs::read_to_string(path).unwrap())
        };
        let own: String = names.iter().map(own).collect();
        let installed = format!("kind/stack/{stand_in}-crds.yaml");
        let found = std::fs::read_to_string(root().join(&installed)).unwrap();
        assert!(found == own, "{installed} is not what fixtures/{stand_in}/crds/ holds");
    }
}

#[test]
fn the_readme_shows_the_two_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("cargo xtask run") && readme.contains("cargo xtask test"));
}

#[test]
fn every_crate_of_the_workspace_is_in_the_code_map() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    for package in metadata.packages {
        let folder = package.manifest_path.parent().unwrap().strip_prefix(root()).unwrap().to_owned();
        assert!(map.contains(&format!("`{folder}/`")), "{folder} is not in ARCHITECTURE.md");
    }
}

/// The workspace's own files with this ending; built and recorded ones left out.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && name != "target" {
                    pending.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}
