//! The chart in the hands of real helm, of every version there is: installed, upgraded, rolled back, tested and
//! uninstalled on an embedded cluster.
//!
//! `PLEXLAB_HELM` names the programs, separated as in `PATH`; without it, `helm` on `PATH` is used.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::agent_manifests::{
    Token, assert_binding, assert_daemon_set, assert_definitions, assert_roles, documents, root,
};
use crate::kube_serve::Served;
use crate::lab::{Lab, Outcome, has};

const NAMESPACE: &str = "plexsphere-system";
/// Tokens name their Project.
const TOKEN: &str = "psb_test_aebagbafaydqqbrhibbsa3kqaq_node_canarycanarycanary22";

/// The programs to test with; none means that the test is skipped, which it has said then.
fn programs(test: &str) -> Vec<PathBuf> {
    match std::env::var_os("PLEXLAB_HELM") {
        Some(list) => std::env::split_paths(&list).collect(),
        None if has("helm", test) => vec!["helm".into()],
        None => Vec::new(),
    }
}

/// One version of helm, in a lab, pointed at a cluster.
struct Helm<'a> {
    lab: &'a Lab,
    program: &'a Path,
    served: Option<&'a Served>,
}

impl Helm<'_> {
    fn run(&self, arguments: &[&str]) -> Outcome {
        let kubeconfig = self.served.map(|served| served.kubeconfig().display().to_string());
        let variables = [("KUBECONFIG".to_owned(), kubeconfig.unwrap_or("/dev/null".into()))];
        Outcome::of(self.lab.command_with(&variables, self.program.to_str().unwrap(), arguments))
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).expect_success(&format!("{} {arguments:?}", self.program.display())).stdout
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// 3 or 4.
    fn major(&self) -> u32 {
        let version = self.ok(&["version", "--template", "{{.Version}}"]);
        version.trim_start_matches('v').split('.').next().unwrap().parse().unwrap()
    }

    /// The flag that undoes a failed upgrade.
    fn undo(&self) -> &'static str {
        if self.major() < 4 { "--atomic" } else { "--rollback-on-failure" }
    }
}

fn chart() -> String {
    root().join("kind/charts/plexd").display().to_string()
}

/// A control plane that takes in every node and has nothing to say to it.
async fn control_plane() -> MockServer {
    let server = MockServer::start().await;
    // The key is the first test vector of RFC 8032.
    let registered = json!({
        "node_id": "0190a8b8-a0c0-7a0a-8a0a-a0a0a0a0a0a0", "mesh_ip": "100.64.0.1",
        "signing_public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "signing_key_id": "did:web:test#key-1",
        "domain_mesh_cidr": "100.64.0.0/10", "nsk": "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
        "peer_snapshot": [],
    });
    let answer = |status: u16, body: Value| ResponseTemplate::new(status).set_body_json(body);
    for (verb, route, response) in [
        ("POST", "^/v1/register$", answer(201, registered)),
        ("POST", "/heartbeat$", answer(200, json!({"reconcile": false, "rotate_keys": false}))),
        ("GET", "/state$", answer(200, json!({"metadata": {"env": "test"}}))),
        ("GET", "/events$", answer(501, json!({"status": 501, "code": "descoped"}))),
    ] {
        Mock::given(method(verb)).and(path_regex(route)).respond_with(response).mount(&server).await;
    }
    server
}

async fn registrations(server: &MockServer) -> usize {
    let requests = server.received_requests().await.unwrap();
    requests.iter().filter(|request| request.url.path() == "/v1/register").count()
}

#[test]
fn the_chart_renders_to_what_the_documents_say() {
    for program in programs("rendering the chart") {
        let lab = Lab::new();
        let helm = Helm { lab: &lab, program: &program, served: None };
        let chart = chart();
        helm.ok(&["lint", &chart]);
        let url = "controlPlaneUrl=https://control.example.com";
        helm.ok(&["lint", "--strict", &chart, "--set", url]);

        // The how-to's own values.
        let rendered = |more: &[&str]| {
            let first =
                ["template", "plexd", &chart, "--namespace", NAMESPACE, "--include-crds", "--set", url];
            documents(&helm.ok(&[&first, more].concat()))
        };
        let objects = rendered(&["--set", "bootstrapTokenSecret=plexd-bootstrap-token"]);
        assert_definitions(&objects);
        assert_roles(&objects);
        assert_binding(&objects, NAMESPACE);
        assert_daemon_set(&objects, NAMESPACE, Token::File { secret: "plexd-bootstrap-token" });

        // The reference's names.
        let reference = [
            "--namespace",
            "plexd-system",
            "--set",
            "bootstrapTokenSecret=plexd-bootstrap,bootstrapTokenDelivery=env",
        ];
        let objects = rendered(&reference);
        assert_binding(&objects, "plexd-system");
        assert_daemon_set(&objects, "plexd-system", Token::Variable { secret: "plexd-bootstrap" });

        // What is wrong is said before anything is installed.
        let refused = |values: &str, why: &str| {
            let outcome = helm.run(&["template", "plexd", &chart, "--set", values]);
            assert!(outcome.code != Some(0) && outcome.stderr.contains(why), "{values}: {outcome:#?}");
        };
        refused("logLevel=info", "controlPlaneUrl is not set");
        refused("controlPlaneUrl=ftp://x", "controlPlaneUrl");
        refused("controlPlaneUrl=http://x,bootstrapTokenDelivery=pigeon", "bootstrapTokenDelivery");
        refused("controlPlaneUrl=http://x,typo=1", "typo");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_upgrades_rolls_back_tests_and_uninstalls() {
    let test = "the chart's life under helm";
    let programs = programs(test);
    if programs.is_empty() || !has("kubectl", test) {
        return;
    }
    for program in programs {
        let server = control_plane().await;
        let lab = Lab::new();
        let served = Served::start(&lab, &["--nodes", "1"]);
        let helm = Helm { lab: &lab, program: &program, served: Some(&served) };
        lifecycle(&helm, &served, &lab, &server).await;
        served.stop().await;
        let log = std::fs::read_to_string(lab.home().join("serve.log")).unwrap();
        assert!(!log.contains("ERROR"), "{log}");
    }
}

async fn lifecycle(helm: &Helm<'_>, served: &Served, lab: &Lab, server: &MockServer) {
    let kubectl = |arguments: &[&str]| {
        served.kubectl(lab, arguments).expect_success(&format!("kubectl {arguments:?}")).stdout
    };
    let chart = chart();
    let url = format!("controlPlaneUrl={}", server.uri());
    let install = ["upgrade", "--install", "plexd", &chart, "--namespace", NAMESPACE, "--create-namespace"];
    let values = ["--set", &url, "--set", "bootstrapTokenSecret=plexd-bootstrap-token"];
    let install = [&install[..], &values].concat();
    let release = |arguments: &[&'static str]| [&["-n", NAMESPACE], arguments].concat();

    // A server-side dry run sees the cluster and changes nothing in it.
    let dry = helm.ok(&["install", "plexd", &chart, "--dry-run=server", "--set", &url]);
    assert!(dry.contains("kind: DaemonSet"), "{dry}");
    assert_eq!(
        kubectl(&["get", "daemonsets,secrets,clusterroles", "-A", "-l", "app.kubernetes.io/name=plexd"]),
        ""
    );

    // As the how-to has it, the Secret after the chart: the pods wait for it.
    let installed = helm.ok(&install);
    assert!(installed.contains("STATUS: deployed") && installed.contains("REVISION: 1"), "{installed}");
    assert!(installed.contains(&format!("registers at {}", server.uri())), "{installed}");
    let token = format!("--from-literal=token={TOKEN}");
    let secret = ["create", "secret", "generic", "plexd-bootstrap-token", &token];
    kubectl(&[&["-n", NAMESPACE], &secret[..]].concat());
    kubectl(&["-n", NAMESPACE, "rollout", "status", "daemonset/plexd", "--timeout=60s"]);
    assert_eq!(registrations(server).await, 1);

    let list = helm.json(&release(&["list"]));
    assert_eq!(
        (&list[0]["name"], &list[0]["status"], &list[0]["chart"]),
        (&json!("plexd"), &json!("deployed"), &json!("plexd-0.1.0"))
    );
    let status = helm.json(&release(&["status", "plexd"]));
    assert_eq!((&status["version"], &status["info"]["status"]), (&json!(1), &json!("deployed")));
    // Helm 4 shows them unasked.
    let resources: &[&str] = if helm.major() < 4 { &["--show-resources"] } else { &[] };
    let shown = helm.ok(&[&["-n", NAMESPACE, "status", "plexd"], resources].concat());
    assert!(shown.contains("==> v1/DaemonSet") && shown.contains("plexd-config"), "{shown}");
    let manifest = documents(&helm.ok(&release(&["get", "manifest", "plexd"])));
    assert_daemon_set(&manifest, NAMESPACE, Token::File { secret: "plexd-bootstrap-token" });
    let given = helm.json(&release(&["get", "values", "plexd"]));
    assert_eq!(given["controlPlaneUrl"], server.uri());
    assert!(helm.ok(&release(&["get", "notes", "plexd"])).contains("403 token_consumed"));
    // Helm 3 asks for the logs when it has removed the pod.
    let logs: &[&str] = if helm.major() < 4 { &[] } else { &["--logs"] };
    let test = ["-n", NAMESPACE, "test", "plexd", "--timeout", "60s"];
    let tested = helm.ok(&[&test, logs].concat());
    assert!(tested.contains("Phase:          Succeeded"), "{tested}");
    assert!(logs.is_empty() || tested.contains("Metadata entries: "), "{tested}");

    // A change of the configuration rolls the DaemonSet; `--wait` waits for it, and the node keeps its identity.
    let wait = ["--wait", "--timeout", "60s"];
    helm.ok(&[&install, &wait[..], &["--set", "logLevel=debug"]].concat());
    let observed = |path: &str| {
        kubectl(&["-n", NAMESPACE, "get", "daemonset", "plexd", "-o", &format!("jsonpath={{{path}}}")])
    };
    assert_eq!(observed(".status.updatedNumberScheduled"), "1");
    assert_eq!(observed(".status.numberAvailable"), "1");
    assert!(
        kubectl(&["-n", NAMESPACE, "get", "configmap", "plexd-config", "-o", "yaml"])
            .contains("log_level: debug")
    );
    assert_eq!(registrations(server).await, 1);

    // An upgrade that fails is undone. To helm 3 a DaemonSet is ready that may lack one pod of one: there the server
    // refuses it.
    let flaw = if helm.major() < 4 { "updateStrategy.type=Nope" } else { "image.tag=missing" };
    let broken = ["--set", flaw, helm.undo(), "--timeout", "8s"];
    let failed = helm.run(&[&install, &broken[..]].concat());
    assert!(failed.code == Some(1), "{failed:#?}");
    assert_eq!(observed(".spec.template.spec.containers[0].image"), "plexlab.dev/plexd:dev");
    let history = helm.json(&release(&["history", "plexd"]));
    let states: Vec<_> =
        history.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["superseded", "superseded", "failed", "deployed"]);
    assert_eq!(observed(".status.numberAvailable"), "1");

    helm.ok(&release(&["rollback", "plexd", "1", "--wait", "--timeout", "60s"]));
    assert!(
        kubectl(&["-n", NAMESPACE, "get", "configmap", "plexd-config", "-o", "yaml"])
            .contains("log_level: info")
    );

    let gone = helm.ok(&release(&["uninstall", "plexd", "--wait", "--timeout", "60s"]));
    assert!(gone.contains("release \"plexd\" uninstalled"), "{gone}");
    let left = "daemonsets,pods,configmaps,serviceaccounts,clusterroles,clusterrolebindings";
    assert_eq!(kubectl(&["get", left, "-A", "-l", "app.kubernetes.io/instance=plexd", "-o", "name"]), "");
    assert_eq!(helm.json(&release(&["list"])), json!([]));
    // Helm keeps definitions.
    kubectl(&["get", "plexdnodestates", "-A"]);

    // Without helm at the cluster: rendered here, applied by kubectl.
    let rendered =
        helm.ok(&["template", "plexd", &chart, "--namespace", NAMESPACE, "--include-crds", "--set", &url]);
    let apply = ["apply", "--server-side", "-n", NAMESPACE, "-f", "-"];
    let applied = served.kubectl_with(lab, &apply, &rendered).expect_success("apply").stdout;
    assert!(applied.contains("daemonset.apps/plexd serverside-applied"), "{applied}");
    kubectl(&["-n", NAMESPACE, "rollout", "status", "daemonset/plexd", "--timeout=60s"]);
    let delete = ["delete", "--wait", "-n", NAMESPACE, "-f", "-"];
    served.kubectl_with(lab, &delete, &rendered).expect_success("delete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_manifests_bring_the_agent_up_in_the_references_names() {
    if !has("kubectl", "the agent's plain manifests") {
        return;
    }
    let server = control_plane().await;
    let lab = Lab::new();
    let served = Served::start(&lab, &["--nodes", "1"]);
    let kubectl = |arguments: &[&str]| {
        served.kubectl(&lab, arguments).expect_success(&format!("kubectl {arguments:?}")).stdout
    };
    let folder = root().join("kind/plexd");
    let applied = kubectl(&["apply", "-k", folder.to_str().unwrap()]);
    assert!(applied.contains("daemonset.apps/plexd created"), "{applied}");
    let config = kubectl(&["-n", "plexd-system", "get", "configmap", "plexd-config", "-o", "yaml"]);
    let config = config.replace("http://plexsphere.default.svc.cluster.local:8080", &server.uri());
    served.kubectl_with(&lab, &["apply", "-f", "-"], &config).expect_success("apply the URL");
    let secret = std::fs::read_to_string(folder.join("secret.yaml")).unwrap();
    let secret = secret.replace("REPLACE-WITH-A-BOOTSTRAP-TOKEN", TOKEN);
    served.kubectl_with(&lab, &["apply", "-f", "-"], &secret).expect_success("apply the token");
    kubectl(&["-n", "plexd-system", "delete", "pods", "-l", "app.kubernetes.io/name=plexd"]);
    kubectl(&["-n", "plexd-system", "rollout", "status", "daemonset/plexd", "--timeout=60s"]);
    assert!(registrations(&server).await >= 1);
    // What the agent may do, and what it may not.
    let may = |verb: &str, what: &str| {
        let who = "--as=system:serviceaccount:plexd-system:plexd";
        served.kubectl(&lab, &["auth", "can-i", verb, what, who, "-n", "plexd-system"]).stdout.trim() == "yes"
    };
    assert!(may("patch", "plexdnodestates/status") && may("create", "jobs") && may("watch", "plexdhooks"));
    assert!(!may("list", "secrets") && !may("delete", "jobs") && !may("create", "plexdhooks"));
    // The definitions check what they are for.
    let state = "apiVersion: plexd.plexsphere.com/v1alpha1\nkind: PlexdNodeState\nmetadata: {name: node-x, namespace: plexd-system}\n";
    let refused =
        served.kubectl_with(&lab, &["apply", "-f", "-"], &format!("{state}spec: {{meshIp: 100.64.0.1}}\n"));
    assert!(refused.stderr.contains("spec.nodeId"), "{refused:#?}");
    served
        .kubectl_with(
            &lab,
            &["apply", "-f", "-"],
            &format!("{state}spec: {{nodeId: n-1, meshIp: 100.64.0.1}}\n"),
        )
        .expect_success("apply a node's state");
    let table = kubectl(&["-n", "plexd-system", "get", "pns"]);
    assert!(table.contains("NODE ID") && table.contains("MESH IP") && table.contains("n-1"), "{table}");
    served.stop().await;
}
