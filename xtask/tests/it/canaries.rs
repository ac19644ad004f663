//! 200 secrets are planted in a stack and used in every way that goes wrong; then all that the stack says is searched for
//! each of them: plain, in base64 at its three offsets, in hex, percent-encoded and escaped as JSON does.

use std::collections::BTreeMap;
use std::fs;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use regex::bytes::{Regex, RegexBuilder};
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::secrets::files;

/// How many of each.
const TOKENS: usize = 60;
const NODES: usize = 20;
const STORED: usize = 60;
const SECRETS: usize = 60;

/// The forms in which a secret could stand in a text; of base64 only what depends on the secret alone.
fn forms(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let mut forms = vec![secret.to_owned()];
    for (offset, head) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = vec![b'x'; offset];
        shifted.extend_from_slice(secret.as_bytes());
        shifted.truncate(shifted.len() / 3 * 3);
        forms.extend(
            [STANDARD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)].map(|text| text[head..].to_owned()),
        );
    }
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_uppercase(), hex]);
    forms.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    let json = serde_json::to_string(secret).unwrap();
    forms.push(json[1..json.len() - 1].to_owned());
    forms
}

/// Finds any form of any of them.
fn seeker(canaries: &BTreeMap<String, String>) -> Regex {
    let all: Vec<String> =
        canaries.values().flat_map(|secret| forms(secret)).map(|form| regex::escape(&form)).collect();
    RegexBuilder::new(&all.join("|")).size_limit(1 << 28).build().unwrap()
}

fn named<'c>(canaries: &'c BTreeMap<String, String>, found: &[u8]) -> &'c str {
    let found = String::from_utf8_lossy(found);
    let whose = canaries.iter().find(|(_, secret)| forms(secret).iter().any(|form| *form == found));
    whose.map_or("?", |(name, _)| name)
}

struct Stack {
    http: reqwest::Client,
    api: String,
    vault: String,
    environment: BTreeMap<String, String>,
    kube: kube::Client,
}

impl Stack {
    async fn of(lab: &Lab) -> Self {
        plexlab_lab::tls::install_provider();
        let said = lab.run(&["env", "-o", "json"]).expect_success("env").stdout;
        let environment: BTreeMap<String, String> = serde_json::from_str(&said).unwrap();
        let kubeconfig = kube::config::Kubeconfig::read_from(&environment["KUBECONFIG"]).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            api: environment["PLEXSPHERE_URL"].clone(),
            vault: environment["VAULT_ADDR"].clone(),
            kube: kube::Client::try_from(config).unwrap(),
            environment,
        }
    }

    async fn call(&self, method: reqwest::Method, url: String, bearer: &str, body: Value) -> (u16, Value) {
        let request =
            self.http.request(method, url).bearer_auth(bearer).header("X-Vault-Token", bearer).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn post(&self, path: &str, bearer: &str, body: Value) -> (u16, Value) {
        self.call(reqwest::Method::POST, format!("{}{path}", self.api), bearer, body).await
    }

    /// A new Project's rights come a moment after it.
    async fn rights_to(&self, project: &str, owner: &str) {
        let url = format!("{}/v1/projects/{project}", self.api);
        let within = std::time::Duration::from_secs(60);
        plexlab_lab::eventually("the rights to a new Project", within, || async {
            match self.call(reqwest::Method::GET, url.clone(), owner, json!({})).await.0 {
                200 => plexlab_lab::Check::Done(()),
                status => plexlab_lab::Check::NotYet(format!("status {status}")),
            }
        })
        .await
        .unwrap();
    }

    /// Plants them all; each by a name that says what it is.
    async fn plant(&self) -> BTreeMap<String, String> {
        let mut canaries = BTreeMap::new();
        let owner = &self.environment["PLEXSPHERE_TOKEN"];
        let (_, domains) =
            self.call(reqwest::Method::GET, format!("{}/v1/domains", self.api), owner, json!({})).await;
        let body = json!({"domain_id": domains["items"][0]["id"], "name": "canaries", "slug": "canaries"});
        let (status, project) = self.post("/v1/projects", owner, body).await;
        assert_eq!(status, 201, "{project}");
        let project = project["id"].as_str().unwrap();
        self.rights_to(project, owner).await;
        let key = "pUSup6FVosk9ukRLn31c3psrpV8HDTa3VxK16bSbIWw=";
        for number in 0..TOKENS {
            let path = format!("/v1/projects/{project}/bootstrap-tokens");
            let body = json!({"kind": "node", "env_prefix": "prod", "ttl_seconds": 3600});
            let (status, issued) = self.post(&path, owner, body).await;
            assert_eq!(status, 201, "{issued}");
            let token = issued["token"].as_str().unwrap();
            canaries.insert(format!("bootstrap token {number}"), token.to_owned());
            let register = |nonce: &str, handle: Value| {
                json!({"project_id": project, "resource_handle": handle, "nonce": nonce, "public_key": key,
                       "bootstrap_token": token})
            };
            if number < NODES {
                let handle = json!(format!("node-{number}"));
                let (status, won) = self.post("/v1/register", "", register("n", handle.clone())).await;
                // One nonce serves one token of a Project: the others are refused with theirs unspent, and come again.
                let won = if status == 201 {
                    won
                } else {
                    self.post("/v1/register", "", register(&format!("n-{number}"), handle)).await.1
                };
                let nsk = won["node_secret_key"].as_str().unwrap();
                canaries.insert(format!("node secret key {number}"), nsk.to_owned());
            }
            // Refused, malformed, and where it does not belong.
            self.post("/v1/register", token, register("again", json!(7))).await;
            self.post("/v1/register", token, json!({"token": format!("{token}!"), "hostname": token})).await;
            self.post("/v1/projects", token, json!({"slug": token})).await;
        }
        let root = &self.environment["VAULT_TOKEN"];
        for number in 0..STORED {
            // Of no shape that anybody knows: characters that each form writes differently.
            let value = format!("stored/\"{number:03}\"+value ~{}", "c4n4ry".repeat(3));
            let url = format!("{}/v1/secret/data/canaries/{number}", self.vault);
            let (status, said) =
                self.call(reqwest::Method::PUT, url.clone(), root, json!({"data": {"v": value}})).await;
            assert_eq!(status, 200, "{said}");
            self.call(reqwest::Method::PUT, url.clone(), &value, json!({"data": value})).await;
            self.call(reqwest::Method::PUT, url, root, json!({"data": [value]})).await;
            canaries.insert(format!("stored value {number}"), value);
        }
        let secrets: Api<Secret> = Api::namespaced(self.kube.clone(), "default");
        for number in 0..SECRETS {
            let value = format!("kube \"{number:03}\"/secret+{}", "c4n4ry".repeat(3));
            let secret: Secret = serde_json::from_value(json!({
                "metadata": {"name": format!("canary-{number}")}, "stringData": {"v": value},
            }))
            .unwrap();
            secrets.create(&PostParams::default(), &secret).await.unwrap();
            canaries.insert(format!("Secret {number}"), value);
        }
        assert_eq!(canaries.len(), 200);
        // What the operator reads and materialises, and what it cannot.
        let data = |property: &str| -> Vec<Value> {
            (0..STORED)
                .map(|number| json!({"secretKey": format!("k{number}"), "remoteRef": {"key": format!("canaries/{number}"), "property": property}}))
                .collect()
        };
        let resource = kube::core::GroupVersionKind::gvk("external-secrets.io", "v1", "ExternalSecret");
        let resource = kube::api::ApiResource::from_gvk(&resource);
        let externals: Api<kube::api::DynamicObject> =
            Api::namespaced_with(self.kube.clone(), "default", &resource);
        for (name, property) in [("canaries", "v"), ("broken", "none")] {
            let object = json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
                "spec": {"secretStoreRef": {"name": "vault-backend", "kind": "ClusterSecretStore"}, "data": data(property)},
            });
            externals.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        }
        let within = std::time::Duration::from_secs(60);
        plexlab_lab::eventually("the values in a Secret, and a failure", within, || async {
            let made =
                secrets.get_opt("canaries").await.unwrap().and_then(|secret| secret.data).unwrap_or_default();
            let broken = externals.get("broken").await.unwrap();
            let failed = broken.data["status"].to_string().contains("SecretSyncedError");
            match (made.len(), failed) {
                (STORED, true) => plexlab_lab::Check::Done(()),
                other => plexlab_lab::Check::NotYet(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
        canaries
    }
}

#[test]
fn two_hundred_canaries_are_in_nothing_that_a_stack_says() {
    let lab = Lab::new();
    lab.run(&["up", "--nodes", "2", "--port", "0"]).expect_success("up");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (canaries, stack) = runtime.block_on(async {
        let stack = Stack::of(&lab).await;
        (stack.plant().await, stack)
    });
    let seeker = seeker(&canaries);
    // The seeker finds what is there.
    for secret in canaries.values() {
        for form in forms(secret) {
            assert!(seeker.is_match(format!("x{form}y").as_bytes()), "{form}");
        }
    }
    let mut searched = 0;
    let mut found = Vec::new();
    let mut search = |place: &str, text: &[u8]| {
        searched += 1;
        if let Some(hit) = seeker.find(text) {
            found.push(format!("{place}: {}", named(&canaries, hit.as_bytes())));
        }
    };
    for name in
        ["postgres", "control-plane", "idp", "vault", "external-secrets", "crossplane", "plexd", "driver"]
    {
        let log = lab.run(&["logs", name]);
        search(&format!("the log of {name}"), log.stdout.as_bytes());
        search(&format!("errors about the log of {name}"), log.stderr.as_bytes());
    }
    for path in
        files(&lab.state()).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "log"))
    {
        search(&path.display().to_string(), &fs::read(&path).unwrap_or_default());
    }
    for command in [&["status", "-o", "json"][..], &["ids"], &["doctor"], &["gc", "--dry-run"]] {
        let said = lab.run(command);
        search(&command.join(" "), said.stdout.as_bytes());
        search(&command.join(" "), said.stderr.as_bytes());
    }
    for server in [&stack.api, &stack.vault] {
        let record = runtime.block_on(async {
            stack.http.get(format!("{server}/__lab/requests")).send().await.unwrap().bytes().await.unwrap()
        });
        assert!(record.len() > 10_000, "the record of {server} holds what was asked");
        search(&format!("the record of {server}"), &record);
    }
    // No manifest asks for one of these in an environment: not even the owner of a process finds it there.
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        for part in ["cmdline", "environ"] {
            let path = entry.path().join(part);
            search(&path.display().to_string(), &fs::read(&path).unwrap_or_default());
        }
    }
    assert!(searched > 50, "{searched} places");
    assert!(found.is_empty(), "of {searched} places: {found:#?}");
}

/// An agent that tells the world its token, in every form; what is kept of the run that fails with it holds none.
#[test]
fn what_is_kept_of_a_failed_run_holds_no_token_in_any_form() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new();
    let agent = lab.home().join("agent");
    // Reversed nobody knows it: so the test hears which token it was.
    let script = "#!/bin/sh\nT=\"$(cat /etc/plexd/bootstrap-token)\"\necho \"token $T\"\n\
         printf 'reversed %s\\n' \"$(printf '%s' \"$T\" | rev)\"\n\
         for pad in '' x xx; do printf '%s%s' \"$pad\" \"$T\" | base64 -w0; echo; done\n\
         printf '%s' \"$T\" | od -An -v -tx1 | tr -d ' \\n'; echo\nexit 1\n";
    fs::write(&agent, script).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let reports = lab.reports();
    let image = format!("plexd=bin:{}", agent.display());
    let outcome = lab.run(&[
        "run",
        "--scenario",
        "adopt-via-eso",
        "--nodes",
        "1",
        "--image",
        &image,
        "--reports",
        reports.to_str().unwrap(),
    ]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let kept = files(&reports);
    let capsule = kept.iter().find(|path| path.ends_with("capsule.json")).expect("a capsule").clone();
    let page = reports.join("page.html");
    lab.run(&["timeline", capsule.to_str().unwrap(), "--html", page.to_str().unwrap()])
        .expect_success("timeline");
    let capsule: Value = serde_json::from_str(&fs::read_to_string(&capsule).unwrap()).unwrap();
    let logs = capsule["logs"].to_string();
    let reversed = logs.split_once("reversed ").and_then(|(_, rest)| rest.split(['"', ' ']).next());
    let token: String = reversed.expect("the agent had a token").chars().rev().collect();
    assert!(token.starts_with("psb_"), "{token}");
    let canaries = BTreeMap::from([("the token".to_owned(), token)]);
    let seeker = seeker(&canaries);
    assert!(logs.contains("token <redacted>"), "the agent's words are there, without the token: {logs}");
    for part in ["objects", "rows", "digests", "steps", "timeline"] {
        assert!(
            capsule[part].as_object().map(|all| all.len()).or(capsule[part].as_array().map(Vec::len))
                > Some(0),
            "{part}"
        );
    }
    for path in files(&reports) {
        assert!(!seeker.is_match(&fs::read(&path).unwrap()), "{} holds the token", path.display());
    }
    assert!(!seeker.is_match(outcome.stdout.as_bytes()) && !seeker.is_match(outcome.stderr.as_bytes()));
}
