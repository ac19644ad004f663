//! The agent's manifests against the published DaemonSet reference, without a cluster: `kind/plexd/` (the reference's
//! own names) and what of the chart needs no rendering. What the chart renders to is held to the same in `helm.rs`.

use std::path::{Path, PathBuf};

use plexlab_harness::stack::manifests::parse;
use plexlab_scenarios::plexd_kubernetes::manifests::{CONSUMERS, RIGHTS, load};
use serde_json::{Value, json};

/// Where the agent's bootstrap token comes from.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// The reference: a variable.
    Variable { secret: &'static str },
    /// The how-to: a file beside the configuration.
    File { secret: &'static str },
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    parse(text).unwrap()
}

fn read(path: &str) -> Vec<Value> {
    documents(&std::fs::read_to_string(root().join(path)).unwrap())
}

pub fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn sorted(list: &Value) -> Vec<String> {
    let mut words: Vec<String> = serde_json::from_value(list.clone()).unwrap();
    words.sort();
    words
}

/// The rules of a role, as the tables above have them.
fn assert_grants(role: &Value, wanted: &[(&str, &str, &[&str])]) {
    let name = &role["metadata"]["name"];
    let rules = role["rules"].as_array().unwrap();
    assert_eq!(rules.len(), wanted.len(), "{name}");
    for (rule, (group, resource, verbs)) in rules.iter().zip(wanted) {
        assert_eq!(rule["apiGroups"], json!([group]), "{name}");
        assert_eq!(rule["resources"], json!([resource]), "{name}");
        assert_eq!(sorted(&rule["verbs"]), sorted(&json!(verbs)), "{name}: {resource}");
        assert_eq!(rule.as_object().unwrap().len(), 3, "{name}: {rule}");
    }
}

/// What the reference says about the cluster roles.
pub fn assert_roles(objects: &[Value]) {
    assert_grants(named(objects, "ClusterRole", "plexd"), RIGHTS);
    for (name, group, resource, verbs) in CONSUMERS {
        assert_grants(named(objects, "ClusterRole", name), &[(*group, *resource, *verbs)]);
    }
    assert_eq!(objects.iter().filter(|object| object["kind"] == "ClusterRole").count(), 5);
}

/// What the reference says about the binding.
pub fn assert_binding(objects: &[Value], namespace: &str) {
    let binding = named(objects, "ClusterRoleBinding", "plexd");
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "plexd"});
    assert_eq!(binding["roleRef"], role);
    let subject = json!({"kind": "ServiceAccount", "name": "plexd", "namespace": namespace});
    assert_eq!(binding["subjects"], json!([subject]));
}

/// What the reference, and for a mounted token the how-to, say about the DaemonSet.
pub fn assert_daemon_set(objects: &[Value], namespace: &str, token: Token) {
    let set = named(objects, "DaemonSet", "plexd");
    assert_eq!(set["metadata"]["namespace"], namespace);
    let spec = &set["spec"]["template"]["spec"];
    assert_eq!(spec["serviceAccountName"], "plexd");
    assert_eq!(spec["hostNetwork"], true);
    assert_eq!(spec["dnsPolicy"], "ClusterFirstWithHostNet");
    assert_eq!(spec["priorityClassName"], "system-node-critical");
    assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
    let [container] = &spec["containers"].as_array().unwrap()[..] else { panic!("one container: {spec}") };
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(sorted(&container["securityContext"]["capabilities"]["add"]), ["NET_ADMIN", "NET_RAW"]);

    let variable = |name: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter().find(|variable| variable["name"] == name).map(|variable| variable["valueFrom"].clone())
    };
    assert_eq!(variable("MY_NODE_NAME"), Some(json!({"fieldRef": {"fieldPath": "spec.nodeName"}})));
    let key = |secret: &str| json!({"secretKeyRef": {"name": secret, "key": "token"}});
    let wanted = match token {
        Token::Variable { secret } => Some(key(secret)),
        Token::File { .. } => None,
    };
    assert_eq!(variable("PLEXD_BOOTSTRAP_TOKEN"), wanted);

    let mounted = |path: &str, read_only: bool| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
        assert_eq!(mount["readOnly"].as_bool().unwrap_or(false), read_only, "{path}");
        let volumes = spec["volumes"].as_array().unwrap();
        volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap().clone()
    };
    let configuration = mounted("/etc/plexd", true);
    match token {
        Token::Variable { .. } => assert_eq!(configuration["configMap"]["name"], "plexd-config"),
        Token::File { secret } => {
            let items = json!([{"key": "token", "path": "bootstrap-token"}]);
            let sources = json!([{"configMap": {"name": "plexd-config"}}, {"secret": {"name": secret, "items": items}}]);
            assert_eq!(configuration["projected"]["sources"], sources);
        }
    }
    for (path, read_only) in
        [("/var/lib/plexd", false), ("/var/run/plexd", false), ("/var/log/kubernetes/audit", true)]
    {
        assert_eq!(mounted(path, read_only)["hostPath"]["path"], path);
    }
    assert_eq!(container["volumeMounts"].as_array().unwrap().len(), 4);
}

/// What the reference says about the two definitions.
pub fn assert_definitions(objects: &[Value]) {
    let version = |name: &str, kind: &str, plural: &str| {
        let definition = named(objects, "CustomResourceDefinition", name);
        let spec = &definition["spec"];
        assert_eq!((&spec["group"], &spec["scope"]), (&"plexd.plexsphere.com".into(), &"Namespaced".into()));
        assert_eq!((&spec["names"]["kind"], &spec["names"]["plural"]), (&kind.into(), &plural.into()));
        let [version] = &spec["versions"].as_array().unwrap()[..] else { panic!("one version: {spec}") };
        assert_eq!(version["name"], "v1alpha1");
        // The agent's rights name `/status`.
        assert_eq!(version["subresources"], json!({"status": {}}));
        (spec["names"]["shortNames"].clone(), version.clone())
    };
    let (short, state) = version("plexdnodestates.plexd.plexsphere.com", "PlexdNodeState", "plexdnodestates");
    assert_eq!(short, json!(["pns"]));
    let columns: Vec<_> = state["additionalPrinterColumns"].as_array().unwrap().iter().collect();
    assert_eq!(
        columns.iter().map(|column| &column["name"]).collect::<Vec<_>>(),
        ["Node ID", "Mesh IP", "Age"]
    );
    let schema = &state["schema"]["openAPIV3Schema"]["properties"];
    let fields = |schema: &Value| -> Vec<String> {
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(fields(&schema["spec"]), ["nodeId", "meshIp", "metadata", "data", "secretRefs"]);
    assert_eq!(schema["spec"]["required"], json!(["nodeId"]));
    assert_eq!(fields(&schema["status"]), ["report"]);
    assert_eq!(schema["lastUpdate"]["format"], "date-time");
    version("plexdhooks.plexd.plexsphere.com", "PlexdHook", "plexdhooks");
}

/// What the suite's rows say of each field is tested beside them; here is what the chart must agree with as well.
#[test]
fn the_plain_manifests_are_those_of_the_reference() {
    let all: Vec<Value> = load().into_iter().flat_map(|(_, objects)| objects).collect();
    assert_definitions(&all);
    assert_roles(&all);
    assert_binding(&all, "plexd-system");
    assert_daemon_set(&all, "plexd-system", Token::Variable { secret: "plexd-bootstrap" });
}

#[test]
fn the_kustomization_lists_all_but_the_example_of_a_secret() {
    let listed: Vec<String> =
        serde_json::from_value(read("kind/plexd/kustomization.yaml")[0]["resources"].clone()).unwrap();
    let mut there: Vec<String> = ["", "crds/"]
        .iter()
        .flat_map(|below| {
            let files = std::fs::read_dir(root().join("kind/plexd").join(below)).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.ends_with(".yaml")).map(move |name| format!("{below}{name}"))
        })
        .filter(|name| !name.ends_with("kustomization.yaml") && name != "secret.yaml")
        .collect();
    there.sort();
    let mut sorted = listed;
    sorted.sort();
    assert_eq!(sorted, there);
}

#[test]
fn chart_stack_and_plain_manifests_agree() {
    for name in ["plexdnodestate-crd", "plexdhook-crd"] {
        let text = |folder: &str| {
            std::fs::read_to_string(root().join(format!("kind/{folder}/crds/{name}.yaml"))).unwrap()
        };
        assert!(text("plexd") == text("charts/plexd"), "{name} differs between kind/plexd and the chart");
    }
    let (stack, plain) = (read("kind/stack/plexd.yaml"), read("kind/plexd/rbac.yaml"));
    assert_eq!(
        named(&stack, "ClusterRole", "plexd")["rules"],
        named(&plain, "ClusterRole", "plexd")["rules"]
    );
    let values = &read("kind/charts/plexd/values.yaml")[0];
    let chart = &read("kind/charts/plexd/Chart.yaml")[0];
    let image = format!(
        "{}:{}",
        values["image"]["repository"].as_str().unwrap(),
        chart["appVersion"].as_str().unwrap()
    );
    let run = |objects: &[Value]| {
        named(objects, "DaemonSet", "plexd")["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!((run(&stack), run(&read("kind/plexd/daemonset.yaml"))), (json!(image), json!(image)));
    // What the how-to passes has the how-to's name as its default.
    assert_eq!(values["bootstrapTokenSecret"], "plexd-bootstrap-token");
}

#[test]
fn every_value_of_the_chart_is_in_its_schema() {
    let values = &read("kind/charts/plexd/values.yaml")[0];
    let schema = std::fs::read_to_string(root().join("kind/charts/plexd/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut described: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    described.retain(|name| *name != "global");
    assert_eq!(values.as_object().unwrap().keys().collect::<Vec<_>>(), described);
}
