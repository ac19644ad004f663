//! The backend `kubeconfig`: stacks on a cluster that is there already, here one of `kube serve`, which this program
//! reaches as it would any other: by its kubeconfig alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::verbs;
use kube::{Client, Config, Discovery, ResourceExt as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use crate::kube_serve::Served;
use crate::lab::{Lab, Outcome};

/// How long the cluster may take to clear away what was deleted last.
const CLEARED_WITHIN: Duration = Duration::from_secs(30);

async fn client(kubeconfig: &Path) -> Client {
    plexlab_lab::tls::install_provider();
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Every object of the cluster, as `kind namespace/name`, but for those that tell of the past.
async fn everything(client: &Client) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    for group in discovery.groups() {
        // Not only the recommended version: a kind may be served in an older one alone. One that has several is found once.
        let versions = group.versions();
        for (resource, capabilities) in versions.flat_map(|version| group.versioned_resources(version)) {
            if !capabilities.supports_operation(verbs::LIST)
                || ["Event", "Lease"].contains(&resource.kind.as_str())
            {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            for object in api.list(&ListParams::default()).await.unwrap().items {
                let namespace = object.namespace().unwrap_or_default();
                found.insert(format!("{} {namespace}/{}", resource.kind, object.name_any()));
            }
        }
    }
    found
}

async fn as_before(client: &Client, before: &BTreeSet<String>) {
    let cleared = eventually("the cluster to be as it was", CLEARED_WITHIN, || async {
        let now = everything(client).await;
        let difference: Vec<&String> = now.symmetric_difference(before).collect();
        if difference.is_empty() { Check::Done(()) } else { Check::NotYet(format!("{difference:?}")) }
    });
    cleared.await.unwrap();
}

fn attached<'a>(command: &[&'a str], kubeconfig: &'a str) -> Vec<&'a str> {
    [command, &["--backend", "kubeconfig", "--kubeconfig", kubeconfig]].concat()
}

fn path(served: &Served) -> String {
    served.kubeconfig().display().to_string()
}

#[tokio::test]
async fn scenarios_pass_on_a_cluster_that_is_there_and_leave_it_as_it_was() {
    let lab = Lab::new();
    let served = Served::start(&lab, &["--nodes", "3", "--postgres"]);
    let (kubeconfig, client) = (path(&served), client(&served.kubeconfig()).await);
    let (before, file) = (everything(&client).await, std::fs::read(&kubeconfig).unwrap());
    let reports = lab.reports().display().to_string();
    let run =
        ["run", "--reports", &reports, "--scenario", "adopt-via-eso", "--scenario", "provision-resource"];
    lab.run(&attached(&run, &kubeconfig)).expect_success("run");
    as_before(&client, &before).await;
    assert_eq!(std::fs::read(&kubeconfig).unwrap(), file);
    served.stop().await;
}

#[tokio::test]
async fn a_stack_outlives_its_pods_and_a_killed_driver_is_cleaned_up_after() {
    let lab = Lab::new();
    let served = Served::start(&lab, &["--postgres"]);
    let (kubeconfig, client) = (path(&served), client(&served.kubeconfig()).await);
    let before = everything(&client).await;
    let up = lab.run(&attached(&["up", "--port", "0", "-o", "json"], &kubeconfig)).expect_success("up");
    let record: Value = serde_json::from_str(&up.stdout).unwrap();

    // The way to the control plane is there again once another pod is ready.
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), "default");
    let ours = ListParams::default().labels("app.kubernetes.io/name=plexsphere");
    let old = pods.list(&ours).await.unwrap().items[0].name_any();
    pods.delete(&old, &Default::default()).await.unwrap();
    let health = format!("{}/v1/health", record["addresses"]["control_plane"].as_str().unwrap());
    let answered = eventually("another pod to answer", CLEARED_WITHIN, || async {
        let left = pods.get_opt(&old).await.unwrap().is_some();
        match reqwest::get(&health).await {
            Ok(answer) if answer.status().is_success() && !left => Check::Done(()),
            other => Check::NotYet(format!("{other:?}, the old one there: {left}")),
        }
    });
    answered.await.unwrap();

    // A second stack finds the first, and changes nothing.
    let second = lab.run(&attached(&["up", "--name", "second", "--port", "0"], &kubeconfig));
    assert_eq!(second.code, Some(4), "{second:?}");
    assert!(second.stderr.contains("has the stack `dev`"), "{second:?}");

    let driver = i32::try_from(record["driver"].as_u64().unwrap()).unwrap();
    kill(Pid::from_raw(driver), Signal::SIGKILL).unwrap();
    lab.run(&["down"]).expect_success("down");
    as_before(&client, &before).await;
    served.stop().await;
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_nothing_is_changed() {
    let lab = Lab::new();
    let served = Served::start(&lab, &["--postgres"]);
    let (kubeconfig, client) = (path(&served), client(&served.kubeconfig()).await);
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let vault = serde_json::from_value(json!({"metadata": {"name": "vault"}})).unwrap();
    namespaces.create(&PostParams::default(), &vault).await.unwrap();
    let before = everything(&client).await;
    let up = lab.run(&attached(&["up", "--port", "0"], &kubeconfig));
    assert_eq!(up.code, Some(4), "{up:?}");
    assert!(up.stderr.contains("Namespace vault; nothing was changed"), "{up:?}");
    as_before(&client, &before).await;
    assert_eq!(std::fs::read_dir(lab.state().join("stacks")).unwrap().count(), 0);
    served.stop().await;
}

/// The admin's kubeconfig with another credential.
fn with_token(admin: &Path, to: PathBuf, token: &str) -> PathBuf {
    let mut file: Value = serde_norway::from_str(&std::fs::read_to_string(admin).unwrap()).unwrap();
    file["users"][0]["user"] = json!({"token": token});
    std::fs::write(&to, serde_norway::to_string(&file).unwrap()).unwrap();
    to
}

#[tokio::test]
async fn the_printed_rights_suffice_and_none_can_be_missed() {
    let lab = Lab::new();
    let tokens = lab.home().join("tokens.csv");
    std::fs::write(&tokens, "a-token-of-plexlab,plexlab,plexlab\n").unwrap();
    let served =
        Served::start(&lab, &["--nodes", "3", "--postgres", "--tokens", &tokens.display().to_string()]);
    let admin = client(&served.kubeconfig()).await;
    let limited = with_token(&served.kubeconfig(), lab.home().join("limited"), "a-token-of-plexlab");
    let limited = limited.display().to_string();
    let reports = lab.reports().display().to_string();
    let run =
        ["run", "--reports", &reports, "--scenario", "adopt-via-eso", "--scenario", "provision-resource"];

    let refused = lab.run(&attached(&["up", "--port", "0"], &limited));
    assert_eq!(refused.code, Some(3), "{refused:?}");

    let printed = lab.run(&["rbac", "-o", "json"]).expect_success("rbac");
    let objects: Vec<Value> = serde_json::from_str(&printed.stdout).unwrap();
    let discovery = Discovery::new(admin.clone()).run().await.unwrap();
    let apply = |object: Value| {
        let (discovery, admin) = (&discovery, admin.clone());
        async move {
            let kind = object["kind"].as_str().unwrap().to_owned();
            let gvk = kube::core::GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", &kind);
            let (resource, _) = discovery.resolve_gvk(&gvk).unwrap();
            let api: Api<DynamicObject> = Api::all_with(admin, &resource);
            let parameters = PatchParams::apply("test").force();
            api.patch(object["metadata"]["name"].as_str().unwrap(), &parameters, &Patch::Apply(&object))
                .await
                .unwrap();
        }
    };
    for object in &objects {
        apply(object.clone()).await;
    }
    lab.run(&attached(&run, &limited)).expect_success("run with the printed rights");

    let mut fewer = objects[0].clone();
    fewer["rules"]
        .as_array_mut()
        .unwrap()
        .retain(|rule| rule["resources"] != json!(["pods/exec", "pods/portforward"]));
    apply(fewer).await;
    let refused = lab.run(&attached(&["up", "--port", "0"], &limited));
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains(
            "may not: get pods/exec, create pods/exec, get pods/portforward, create pods/portforward"
        ),
        "{refused:?}"
    );
    served.stop().await;
}

/// A kubeconfig that leads to this address, under these names.
fn written(lab: &Lab, server: &str, context: &str) -> String {
    let file = lab.home().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         contexts: [{{name: {context}, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
    );
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn refused(lab: &Lab, kubeconfig: &str, more: &[&str]) -> Outcome {
    let outcome = lab.run(&[&attached(&["up", "--port", "0"], kubeconfig), more].concat());
    assert!(!lab.state().join("stacks/dev").exists(), "{outcome:?}");
    outcome
}

#[test]
fn a_cluster_elsewhere_and_one_that_looks_like_production_must_be_named() {
    let lab = Lab::new();
    for (server, context, seen) in [
        ("https://k8s.example.com", "team", "not on this machine"),
        ("https://127.0.0.1:1", "acme-prod", "looks like a production cluster"),
    ] {
        let outcome = refused(&lab, &written(&lab, server, context), &[]);
        assert_eq!(outcome.code, Some(3), "{outcome:?}");
        assert!(outcome.stderr.contains(seen), "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("--allow-context {context}")), "{outcome:?}");
    }
    // Named, it is tried: nobody listens at port 1.
    let outcome =
        refused(&lab, &written(&lab, "https://127.0.0.1:1", "acme-prod"), &["--allow-context", "acme-prod"]);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains("does not answer"), "{outcome:?}");
}

#[test]
fn what_was_not_given_or_is_not_there_is_a_wrong_command_line() {
    let lab = Lab::new();
    let kubeconfig = written(&lab, "https://127.0.0.1:1", "dev");
    let outcome = refused(&lab, &kubeconfig, &["--context", "dve"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("no context `dve`; it has dev"), "{outcome:?}");
    let outcome = lab.run(&["up", "--backend", "kubeconfig", "--port", "0"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let outcome = refused(&lab, "/no/such/file", &[]);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let outcome = refused(&lab, &kubeconfig, &["--image", "plexd=bin:/bin/sh"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("put it into an image"), "{outcome:?}");
}

#[tokio::test]
async fn credentials_that_are_no_good_any_more_are_told_from_a_cluster_that_is_down() {
    let lab = Lab::new();
    let served = Served::start(&lab, &["--nodes", "0"]);
    let stale = with_token(&served.kubeconfig(), lab.home().join("stale"), "no-token-any-more");
    let outcome = refused(&lab, &stale.display().to_string(), &[]);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains("have new ones issued"), "{outcome:?}");
    let outcome = refused(&lab, &path(&served), &[]);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains("no node that is ready"), "{outcome:?}");
    served.stop().await;
}

#[test]
fn a_dry_run_asks_no_cluster() {
    let lab = Lab::new();
    let arguments =
        ["up", "--dry-run", "--context", "kind-dev", "--image", "plexd=image:registry.example.com/plexd:1"];
    let outcome = lab.run(&attached(&arguments, "/no/such/file")).expect_success("dry run");
    insta::assert_snapshot!(outcome.stdout);
    assert!(!lab.state().exists());
}
