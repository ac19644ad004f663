//! What bringing a stack up will do, as data. Pure: a plan is made with nothing installed and nothing run.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::backend::BackendKind;
use crate::backend::attach::ownership::{LABEL, keep_off_nodes, mark};
use crate::backend::kind::images::name_by_tags;
use crate::clouds;
use crate::flux;
use crate::images::{Component, ImageSource};
use crate::stack::manifests::{Manifest, ManifestError, load};
use crate::stack::secrets::Secrets;
use crate::stack::spec::{Agent, Operator, Publish, StackSpec};

/// One step of bringing a stack up.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Start the cluster.
    StartCluster {
        /// The nodes' names.
        nodes: Vec<String>,
    },
    /// Attach to a cluster that is there.
    Attach {
        /// Its context, for people.
        context: String,
    },
    /// Load the images of these archives into the nodes.
    LoadImages {
        /// Paths of the archives.
        archives: Vec<String>,
    },
    /// Apply these objects (server-side, field manager `plexlab`), in order.
    Apply {
        /// What they are, for people.
        what: String,
        /// The objects.
        objects: Vec<Value>,
    },
    /// Wait until these objects are ready.
    WaitReady {
        /// The objects.
        objects: Vec<ObjectRef>,
    },
    /// Publish the control plane on localhost.
    Publish {
        /// The preferred port.
        port: u16,
    },
}

/// Names one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group and version, for example `apps/v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; none for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// The reference to an object; empty strings where the object lacks a field.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: text(&object["metadata"]["name"]),
        }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// All steps in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What was asked for.
    pub spec: StackSpec,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Kinds that the stack's own definitions bring.
const CUSTOM: [&str; 4] =
    ["ClusterSecretStore", "CompositeResourceDefinition", "Composition", "ClusterProviderConfig"];

/// Plans a stack. The secrets are those that the plan's Secret objects will carry.
///
/// # Errors
/// When a manifest is not YAML.
pub fn plan(spec: &StackSpec, secrets: &Secrets) -> Result<Plan, ManifestError> {
    let manifests = load(&spec.images)?;
    let mut steps = vec![first_step(spec)];
    if spec.backend == BackendKind::Kind {
        let archives = spec.options.image_archives.iter().map(|path| path.display().to_string()).collect();
        steps.push(Step::LoadImages { archives });
    }
    let wanted =
        |manifest: &&Manifest| manifest.component != Some(Component::Plexd) || spec.agent == Agent::Deployed;
    let (mut foundations, mut services, mut custom, mut rest) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let is_by_flux = spec.operator == Operator::ByFlux;
    let (routes, by_flux) =
        if is_by_flux { (vec![flux::route()], flux::objects()?) } else { Default::default() };
    let clouds = clouds::objects(&spec.clouds, routes)?;
    let own = manifests
        .iter()
        .filter(wanted)
        .flat_map(|manifest| manifest.objects.iter().map(|object| (manifest.component, object)));
    let others = clouds.iter().chain(&by_flux).map(|object| (None, object));
    for (component, object) in own.chain(others) {
        if is_by_flux && flux::is_left_to_flux(component, object) {
            continue;
        }
        match object["kind"].as_str() {
            // Services before the pods that are told of them in their environment.
            Some("Namespace" | "CustomResourceDefinition") => foundations.push(object.clone()),
            Some("Service") => services.push(object.clone()),
            Some(kind) if CUSTOM.contains(&kind) => custom.push(object.clone()),
            _ => rest.push(object.clone()),
        }
    }
    let definitions: Vec<_> = foundations
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .map(ObjectRef::of)
        .collect();
    // The workloads first: they take longest to become ready.
    let is_remote = spec.images.remote_control_plane().is_some();
    let mut objects = secrets.objects(!is_remote);
    objects.retain(|object| !(is_by_flux && flux::is_left_to_flux(None, object)));
    objects.extend(rest);
    let workloads = objects
        .iter()
        .chain(&custom)
        .filter(|object| {
            let awaited = ["Deployment", "StatefulSet", "ClusterSecretStore", "CompositeResourceDefinition"];
            object["kind"].as_str().is_some_and(|kind| awaited.contains(&kind))
        })
        .map(ObjectRef::of)
        .collect();
    steps.push(Step::Apply {
        what: "namespaces and custom resource definitions".into(),
        objects: foundations,
    });
    steps.push(Step::Apply { what: "services".into(), objects: services });
    steps.push(Step::Apply { what: "workloads".into(), objects });
    steps.push(Step::WaitReady { objects: definitions });
    steps.push(Step::Apply { what: "secret store and blueprints".into(), objects: custom });
    steps.push(Step::WaitReady { objects: workloads });
    if let Publish::Prefer(port) = spec.publish
        && !is_remote
    {
        steps.push(Step::Publish { port });
    }
    let mut plan = Plan { spec: spec.clone(), steps };
    if spec.backend.has_containers() {
        plan.objects_mut().for_each(|object| suit(object, spec));
    }
    Ok(plan)
}

/// An object as it is in a cluster of somebody else's nodes.
fn suit(object: &mut Value, spec: &StackSpec) {
    mark(object, spec.name.as_str());
    if spec.backend == BackendKind::Kubeconfig {
        keep_off_nodes(object);
    }
    if !spec.options.image_archives.is_empty() {
        name_by_tags(object);
    }
}

fn first_step(spec: &StackSpec) -> Step {
    match spec.backend {
        BackendKind::Embedded | BackendKind::Envtest | BackendKind::Kind => {
            Step::StartCluster { nodes: spec.node_names() }
        }
        BackendKind::Kubeconfig => {
            let file = spec.options.kubeconfig.as_deref().unwrap_or(Path::new("no kubeconfig"));
            let context = match &spec.options.context {
                Some(name) => format!("the context {name} of {}", file.display()),
                None => format!("the current context of {}", file.display()),
            };
            Step::Attach { context }
        }
    }
}

/// The manifests of the node agent, edited for the spec's image source; for scenarios that install it themselves.
///
/// # Errors
/// When a manifest is not YAML.
pub fn agent_objects(spec: &StackSpec) -> Result<Vec<Value>, ManifestError> {
    let manifests = load(&spec.images)?;
    let agent = manifests.into_iter().filter(|manifest| manifest.component == Some(Component::Plexd));
    let mut objects: Vec<Value> = agent.flat_map(|manifest| manifest.objects).collect();
    if spec.backend.has_containers() {
        objects.iter_mut().for_each(|object| suit(object, spec));
    }
    Ok(objects)
}

impl Plan {
    /// Everything that it applies.
    pub fn objects(&self) -> impl Iterator<Item = &Value> {
        self.steps.iter().flat_map(|step| match step {
            Step::Apply { objects, .. } => objects.as_slice(),
            _ => &[],
        })
    }

    fn objects_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.steps.iter_mut().flat_map(|step| match step {
            Step::Apply { objects, .. } => objects.as_mut_slice(),
            _ => &mut [],
        })
    }

    /// The plan as people read it.
    pub fn describe(&self) -> String {
        let spec = &self.spec;
        let mut text = format!("stack {} on the {} backend\n", spec.name, spec.backend);
        let _ = writeln!(text, "\nimages");
        for component in Component::ALL {
            let source = match spec.images.source(component) {
                ImageSource::StandIn if spec.images.is_elsewhere(component) => {
                    "none: the control plane has its own".to_owned()
                }
                source => source.to_string(),
            };
            let _ = writeln!(text, "  {:<17} {source}", component.name());
        }
        if let Some(definitions) = spec.images.definitions() {
            let _ = writeln!(text, "\ndefinitions of external-secrets\n  {}", definitions.path().display());
        }
        for (index, step) in self.steps.iter().enumerate() {
            let number = index + 1;
            let _ = match step {
                Step::StartCluster { nodes } => {
                    writeln!(
                        text,
                        "\n{number}. start a cluster of {}: {}",
                        counted(nodes.len(), "node"),
                        nodes.join(", ")
                    )
                }
                Step::Attach { context } => writeln!(
                    text,
                    "\n{number}. attach to the cluster of {context}, unless it has any of what follows but definitions; \
                     label what is made {LABEL}={}",
                    spec.name
                ),
                Step::LoadImages { archives } => {
                    let lines: Vec<_> = archives.iter().map(|path| format!("  {path}\n")).collect();
                    write!(text, "\n{number}. load images into the nodes\n{}", lines.concat())
                }
                Step::Apply { what, objects } => {
                    let lines: Vec<_> =
                        objects.iter().map(|object| format!("  {}\n", ObjectRef::of(object))).collect();
                    write!(text, "\n{number}. apply {what}\n{}", lines.concat())
                }
                Step::WaitReady { objects } => {
                    let lines: Vec<_> = objects.iter().map(|object| format!("  {object}\n")).collect();
                    write!(text, "\n{number}. wait until ready\n{}", lines.concat())
                }
                Step::Publish { port } => {
                    writeln!(
                        text,
                        "\n{number}. publish the control plane at http://localhost:{port} if that port is free"
                    )
                }
            };
        }
        text
    }
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clouds::secrets::CloudSecrets;
    use crate::images::Images;

    fn spec(agent: Agent, publish: Publish) -> StackSpec {
        StackSpec {
            name: "dev".parse().unwrap(),
            nodes: 3,
            backend: BackendKind::Embedded,
            options: crate::backend::options::BackendOptions::default(),
            images: Images::default(),
            clouds: clouds::Clouds::new(),
            operator: Operator::default(),
            agent,
            publish,
        }
    }

    #[test]
    fn the_plan_of_a_dev_stack() {
        let spec = spec(Agent::Deployed, Publish::Prefer(8080));
        insta::assert_snapshot!(plan(&spec, &Secrets::placeholders()).unwrap().describe());
    }

    #[test]
    fn a_stack_whose_control_plane_is_elsewhere_has_no_secret_of_it_and_publishes_nothing() {
        let mut spec = spec(Agent::Deployed, Publish::Prefer(8080));
        spec.images = Images::new(["control-plane=url:https://staging.example".parse().unwrap()]);
        let text = plan(&spec, &Secrets::placeholders()).unwrap().describe();
        assert!(text.contains("control-plane     url:https://staging.example\n"), "{text}");
        assert!(text.contains("postgres          none: the control plane has its own\n"), "{text}");
        assert!(!text.contains("default/") && !text.contains("publish"), "{text}");
        assert!(text.contains("Secret external-secrets/vault-token"), "{text}");
    }

    #[test]
    fn the_plan_of_a_stack_for_scenarios_leaves_the_agent_out() {
        let spec = spec(Agent::LeftToScenario, Publish::Nowhere);
        let text = plan(&spec, &Secrets::placeholders()).unwrap().describe();
        assert!(!text.contains("DaemonSet"), "{text}");
        let agent = agent_objects(&spec).unwrap();
        assert!(agent.iter().any(|object| object["kind"] == "DaemonSet"));
    }

    #[test]
    fn what_goes_into_a_cluster_that_is_there_is_marked_and_leaves_nothing_on_its_nodes() {
        let attached =
            StackSpec { backend: BackendKind::Kubeconfig, ..spec(Agent::Deployed, Publish::Nowhere) };
        let plan = plan(&attached, &Secrets::placeholders()).unwrap();
        let agent = agent_objects(&attached).unwrap();
        assert!(plan.objects().chain(&agent).all(|object| object["metadata"]["labels"][LABEL] == "dev"));
        let text = serde_json::to_string(&agent).unwrap();
        assert!(!text.contains("\"path\":\"/var/lib/plexd\"") && text.contains("emptyDir"), "{text}");
        let own = agent_objects(&StackSpec { backend: BackendKind::Kind, ..attached }).unwrap();
        assert!(serde_json::to_string(&own).unwrap().contains("\"path\":\"/var/lib/plexd\""));
    }

    #[test]
    fn images_from_archives_are_named_by_what_archives_tell_of_them() {
        let pinned = StackSpec { backend: BackendKind::Kind, ..spec(Agent::Deployed, Publish::Nowhere) };
        let text = |spec: &StackSpec| {
            let plan = plan(spec, &Secrets::placeholders()).unwrap();
            serde_json::to_string(&plan.objects().collect::<Vec<_>>()).unwrap()
        };
        assert!(text(&pinned).contains("curlimages/curl:8.11.1@sha256:"));
        let mut offline = pinned;
        offline.options.image_archives = vec!["images.tar".into()];
        let text = text(&offline);
        assert!(text.contains("curlimages/curl:8.11.1\"") && !text.contains("@sha256:"), "{text}");
    }

    #[test]
    fn clouds_come_when_they_are_asked_for_and_are_waited_for() {
        let mut spec = spec(Agent::LeftToScenario, Publish::Nowhere);
        let without = plan(&spec, &Secrets::placeholders()).unwrap().describe();
        assert!(!without.contains("clouds/"), "{without}");
        spec.clouds = clouds::Cloud::ALL.into();
        let secrets = Secrets { clouds: CloudSecrets::placeholders(&spec.clouds), ..Secrets::placeholders() };
        let with = plan(&spec, &secrets).unwrap();
        let Some(Step::WaitReady { objects }) = with.steps.last() else { panic!("the last step waits") };
        for cloud in clouds::Cloud::ALL {
            let named = |name: &str| objects.iter().any(|object| object.name == name);
            assert!(named(cloud.name()) && named(cloud.store()), "{cloud}");
            assert!(with.describe().contains(&format!("Secret clouds/{cloud}-settings")));
        }
    }

    #[test]
    fn a_stack_whose_operator_flux_brings_has_flux_and_nothing_of_the_operator() {
        let mut spec = spec(Agent::LeftToScenario, Publish::Nowhere);
        (spec.operator, spec.clouds) = (Operator::ByFlux, [clouds::Cloud::Azure].into());
        let secrets = Secrets { clouds: CloudSecrets::placeholders(&spec.clouds), ..Secrets::placeholders() };
        let plan = plan(&spec, &secrets).unwrap();
        let text = plan.describe();
        for object in [
            "Deployment flux-system/helm-controller",
            "Deployment clouds/git-server",
            "Secret clouds/clouds-tls",
        ] {
            assert!(text.contains(object), "{object}: {text}");
        }
        assert!(
            !text.contains(" external-secrets/") && !text.contains("externalsecrets.external-secrets.io"),
            "{text}"
        );
        assert!(serde_json::to_string(&plan).unwrap().contains(&format!("--route={}", flux::route())));
    }

    #[test]
    fn every_object_that_lives_in_a_namespace_names_it() {
        let cluster_scoped = [
            "Namespace",
            "ClusterRole",
            "ClusterRoleBinding",
            "CustomResourceDefinition",
            "ClusterSecretStore",
            "CompositeResourceDefinition",
            "Composition",
            "ClusterProviderConfig",
        ];
        let spec = spec(Agent::Deployed, Publish::Nowhere);
        for step in plan(&spec, &Secrets::placeholders()).unwrap().steps {
            if let Step::Apply { objects, .. } = step {
                for object in objects {
                    let named = object["metadata"]["namespace"].is_string();
                    let cluster = cluster_scoped.contains(&object["kind"].as_str().unwrap());
                    assert_eq!(named, !cluster, "{}", ObjectRef::of(&object));
                }
            }
        }
    }
}
