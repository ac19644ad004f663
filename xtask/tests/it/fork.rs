//! Copies of a running stack: each has all that the stack had, and from then on a life of its own.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use crate::killed::processes;
use crate::lab::Lab;

/// How long an adoption, or its resumption in a copy, may take on a loaded machine.
const SOON: Duration = Duration::from_secs(90);
const AGENTS: &str =
    "/api/v1/namespaces/plexsphere-system/pods?labelSelector=app.kubernetes.io%2Fname%3Dplexd";

/// A stack's three public faces.
pub struct Face {
    http: reqwest::Client,
    kubernetes: (String, String),
    plexsphere: (String, String),
    vault: (String, String),
}

impl Face {
    pub fn of(lab: &Lab, stack: &str) -> Self {
        plexlab_lab::tls::install_provider();
        let json = lab.run(&["env", "--name", stack, "-o", "json"]).expect_success("env").stdout;
        let variables: Value = serde_json::from_str(&json).unwrap();
        let text = |name: &str| variables[name].as_str().unwrap().to_owned();
        let kubeconfig = fs::read_to_string(text("KUBECONFIG")).unwrap();
        let field = |name: &str| {
            kubeconfig.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap().to_owned()
        };
        // The certificate is not what this test is about.
        let http = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
        Self {
            http,
            kubernetes: (field("server: "), field("token: ")),
            plexsphere: (text("PLEXSPHERE_URL"), text("PLEXSPHERE_TOKEN")),
            vault: (text("VAULT_ADDR"), text("VAULT_TOKEN")),
        }
    }

    async fn send(request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.timeout(Duration::from_secs(30)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    pub async fn kube(&self, path: &str) -> (u16, Value) {
        Self::send(self.http.get(format!("{}{path}", self.kubernetes.0)).bearer_auth(&self.kubernetes.1))
            .await
    }

    pub async fn kube_apply(&self, path: &str, manifest: String) -> u16 {
        let url = format!("{}{path}?fieldManager=test", self.kubernetes.0);
        let request = self.http.patch(url).bearer_auth(&self.kubernetes.1);
        Self::send(request.header("content-type", "application/apply-patch+yaml").body(manifest)).await.0
    }

    /// Base URL of the control plane.
    pub fn url(&self) -> &str {
        &self.plexsphere.0
    }

    pub async fn plexsphere(&self, path: &str) -> (u16, Value) {
        Self::send(self.http.get(format!("{}{path}", self.plexsphere.0)).bearer_auth(&self.plexsphere.1))
            .await
    }

    async fn plexsphere_post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.plexsphere.0)).bearer_auth(&self.plexsphere.1);
        let (status, answer) = Self::send(request.json(&body)).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }

    async fn secret(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}/v1/secret/data/{path}", self.vault.0));
        Self::send(request.header("X-Vault-Token", &self.vault.1)).await.1["data"]["data"].clone()
    }

    async fn put_secret(&self, path: &str, data: Value) {
        let request = self.http.put(format!("{}/v1/secret/data/{path}", self.vault.0));
        let request = request.header("X-Vault-Token", &self.vault.1).json(&json!({"data": data}));
        assert_eq!(Self::send(request).await.0, 200);
    }

    /// The nodes whose agents are ready, with the uid of each agent's pod.
    async fn ready_agents(&self) -> BTreeSet<(String, String)> {
        let (_, pods) = self.kube(AGENTS).await;
        let is_ready = |pod: &&Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let ready = pods["items"].as_array().unwrap().iter().filter(is_ready);
        ready.map(|pod| (text(&pod["spec"]["nodeName"]), text(&pod["metadata"]["uid"]))).collect()
    }

    async fn wait_ready_agents(&self, what: &str, wanted: usize) -> BTreeSet<(String, String)> {
        let waited = eventually(format!("{wanted} ready agents of {what}"), SOON, || async {
            let ready = self.ready_agents().await;
            if ready.len() == wanted { Check::Done(ready) } else { Check::NotYet(format!("{ready:?}")) }
        });
        waited.await.unwrap()
    }

    /// The registered nodes with their ids, and the adopted Resources of a Project.
    async fn adopted(&self, project: &str) -> (Value, Value) {
        let nodes = self.plexsphere("/v1/nodes").await.1;
        let resources = self.plexsphere(&format!("/v1/projects/{project}/resources")).await.1;
        (nodes, resources)
    }
}

/// Adopts one node as the how-to says; returns the Project and the token's metadata path.
async fn adopt(lab: &Lab, face: &Face) -> (String, String) {
    let ids: Value = serde_json::from_str(
        &lab.run(&["ids", "--name", "origin", "-o", "json"]).expect_success("ids").stdout,
    )
    .unwrap();
    let domain = ids["DOMAIN_ID"].as_str().unwrap();
    let project = json!({"domain_id": domain, "name": "mine", "slug": "mine"});
    let project = face.plexsphere_post("/v1/projects", project).await["id"].as_str().unwrap().to_owned();
    let rights = format!("/v1/projects/{project}");
    eventually("the right to the new Project", SOON, || async {
        match face.plexsphere(&rights).await {
            (200, _) => Check::Done(()),
            (status, answer) => Check::NotYet(format!("status {status}: {answer}")),
        }
    })
    .await
    .unwrap();
    let tokens = format!("/v1/projects/{project}/bootstrap-tokens");
    let wanted = json!({"kind": "node", "env_prefix": "prod", "ttl_seconds": 3600});
    let token = face.plexsphere_post(&tokens, wanted).await;
    face.put_secret("plexsphere/prod/bootstrap-token", json!({"token": token["token"]})).await;
    let manifest = include_str!("../../../scenarios/src/adopt_via_eso/external-secret.yaml")
        .replace("<your-cluster-secret-store>", "vault-backend")
        .replace("<env-prefix>", "prod");
    let path =
        "/apis/external-secrets.io/v1/namespaces/plexsphere-system/externalsecrets/plexd-bootstrap-token";
    assert_eq!(face.kube_apply(path, manifest).await, 201);
    (project, format!("{tokens}/{}", token["token_id"].as_str().unwrap()))
}

#[tokio::test]
async fn three_copies_of_an_adopted_cluster_are_independent_of_it_and_of_each_other() {
    let lab = Lab::new();
    lab.run(&["up", "--name", "origin", "--nodes", "2", "--port", "0"]).expect_success("up");
    let origin = Face::of(&lab, "origin");
    let (project, token) = adopt(&lab, &origin).await;
    let agents = origin.wait_ready_agents("the origin", 1).await;
    let adopted = origin.adopted(&project).await;
    assert_eq!(adopted.1["items"].as_array().map(Vec::len), Some(1), "{adopted:?}");
    let address_of = |face: &Face| face.kubernetes.0.clone();

    lab.run(&["fork", "--of", "origin", "--name", "copy", "-n", "3"]).expect_success("fork");
    let names = ["copy-1", "copy-2", "copy-3"];
    let copies: Vec<Face> = names.iter().map(|name| Face::of(&lab, name)).collect();
    let all: Vec<&Face> = std::iter::once(&origin).chain(&copies).collect();
    let distinct =
        |part: &dyn Fn(&Face) -> String| all.iter().map(|face| part(face)).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(&address_of), 4);
    assert_eq!(distinct(&|face| face.kubernetes.1.clone()), 4);
    assert_eq!(distinct(&|face| face.plexsphere.0.clone()), 4);
    assert_eq!(distinct(&|face| face.plexsphere.1.clone()), 4);
    assert_eq!(distinct(&|face| face.vault.0.clone()), 4);
    assert_eq!(distinct(&|face| face.vault.1.clone()), 4);

    let stored = origin.secret("plexsphere/prod/bootstrap-token").await;
    for (copy, name) in copies.iter().zip(names) {
        // The same agent is back, as the same Node, without a second registration.
        assert_eq!(copy.wait_ready_agents(name, 1).await, agents);
        assert_eq!(copy.adopted(&project).await, adopted, "{name}");
        let (status, metadata) = copy.plexsphere(&token).await;
        assert!(status == 200 && metadata["consumed_at"].is_string(), "{name}: {metadata}");
        assert_eq!(copy.secret("plexsphere/prod/bootstrap-token").await, stored, "{name}");
        let nodes = copy.kube("/api/v1/nodes").await.1;
        let registered: BTreeSet<_> = nodes["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(registered, ["origin-control-plane", "origin-worker"].into(), "{name}");
    }

    // A change of one is a change of one.
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: only-here}}".to_owned();
    let path = "/api/v1/namespaces/default/configmaps/only-here";
    assert_eq!(copies[0].kube_apply(path, map).await, 201);
    copies[0].put_secret("only/here", json!({"a": "b"})).await;
    let domain = adopted.0["items"][0]["domain_id"].clone();
    copies[0]
        .plexsphere_post("/v1/projects", json!({"domain_id": domain, "name": "only", "slug": "only"}))
        .await;
    for (index, face) in [&copies[0], &copies[1], &copies[2], &origin].into_iter().enumerate() {
        let changed = index == 0;
        assert_eq!(face.kube(path).await.0, if changed { 200 } else { 404 });
        assert_eq!(face.secret("only/here").await.is_object(), changed);
        let has_it = || async {
            let projects = face.plexsphere("/v1/projects").await.1;
            projects["items"].as_array().unwrap().iter().any(|project| project["slug"] == "only")
        };
        if changed {
            // Its owner sees a Project when the grant has reached authorization.
            eventually("the new Project", Duration::from_secs(30), || async {
                if has_it().await { Check::Done(()) } else { Check::NotYet("it is not listed".to_owned()) }
            })
            .await
            .unwrap();
        } else {
            assert!(!has_it().await);
        }
    }
    // No Service of a copy leads to another stack: what Services resolve to is the copy's own.
    let services = copies[1].kube("/api/v1/services").await.1;
    let kept: Vec<_> =
        services["items"].as_array().unwrap().iter().map(|service| &service["spec"]["clusterIP"]).collect();
    assert!(kept.len() >= 4, "{kept:?}");
    let block = |address: &str| address.split('.').nth(1).unwrap().to_owned();
    let own = block(copies[1].vault.0.trim_start_matches("http://"));
    assert!(
        kept.iter().all(|address| block(address.as_str().unwrap()) == own),
        "{kept:?} are not of block {own}"
    );

    for name in ["origin", "copy-1", "copy-2", "copy-3"] {
        lab.run(&["down", "--name", name]).expect_success(name);
    }
    assert_eq!(processes(&lab), BTreeSet::new());
    for directory in ["stacks", "snapshots"] {
        let left: Vec<_> = fs::read_dir(lab.state().join(directory)).into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_snapshot_outlives_its_stack_and_puts_it_back() {
    let lab = Lab::new();
    lab.run(&["up", "--name", "origin", "--nodes", "1", "--port", "0"]).expect_success("up");
    let face = Face::of(&lab, "origin");
    face.put_secret("kept", json!({"a": "b"})).await;
    lab.run(&["snapshot", "save", "clean", "--name", "origin"]).expect_success("save");
    let again = lab.run(&["snapshot", "save", "clean", "--name", "origin"]);
    assert!(again.code == Some(4) && again.stderr.contains("snapshot delete clean"), "{again:#?}");
    face.put_secret("later", json!({"a": "b"})).await;
    let refused = lab.run(&["snapshot", "restore", "clean"]);
    assert!(refused.code == Some(4) && refused.stderr.contains("--replace"), "{refused:#?}");

    lab.run(&["snapshot", "restore", "clean", "--replace", "--port", "0"]).expect_success("restore");
    let face = Face::of(&lab, "origin");
    assert_eq!(face.secret("kept").await, json!({"a": "b"}));
    assert!(face.secret("later").await.is_null());
    lab.run(&["down", "--name", "origin"]).expect_success("down");

    let list = lab.run(&["snapshot", "list", "-o", "json"]).expect_success("list").stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list[0]["name"], &list[0]["snapshot"]["stack"]), (&"clean".into(), &"origin".into()));
    lab.run(&["snapshot", "restore", "clean", "--name", "other", "--port", "0"]).expect_success("restore");
    assert_eq!(Face::of(&lab, "other").secret("kept").await, json!({"a": "b"}));
    lab.run(&["down", "--name", "other"]).expect_success("down");
    lab.run(&["snapshot", "delete", "clean"]).expect_success("delete");
    let gone = lab.run(&["snapshot", "delete", "clean"]);
    assert!(gone.code == Some(2) && gone.stderr.contains("snapshot list"), "{gone:#?}");
}
