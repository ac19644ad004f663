//! A stack with every cloud: what `env` and `logs` know of them, and a copy and a snapshot that have their secrets, too.

use std::collections::BTreeMap;
use std::time::Duration;

use plexlab_lab::{Check, eventually};
use reqwest::{Certificate, Client, Proxy};
use serde_json::{Value, json};

use crate::fork::Face;
use crate::lab::Lab;

/// How long a Secret may take on a loaded machine.
const SOON: Duration = Duration::from_secs(90);

/// The customer at the Key Vault of a stack, with what `env` says.
struct Customer {
    http: Client,
    variables: BTreeMap<String, String>,
}

impl Customer {
    fn of(lab: &Lab, stack: &str) -> Self {
        let json = lab.run(&["env", "--name", stack, "-o", "json"]).expect_success("env").stdout;
        let variables: BTreeMap<String, String> = serde_json::from_str(&json).unwrap();
        let authority = std::fs::read(&variables["PLEXLAB_CLOUDS_CA"]).unwrap();
        let http = Client::builder()
            .proxy(Proxy::all(&variables["PLEXLAB_CLOUDS_PROXY"]).unwrap())
            .tls_certs_only(Certificate::from_pem_bundle(&authority).unwrap())
            .build()
            .unwrap();
        Self { http, variables }
    }

    async fn put(&self, name: &str, value: &str) {
        let variable = |name: &str| self.variables[name].as_str();
        let url =
            format!("https://login.microsoftonline.com/{}/oauth2/v2.0/token", variable("AZURE_TENANT_ID"));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", variable("AZURE_CLIENT_ID")),
            ("client_secret", variable("AZURE_CLIENT_SECRET")),
            ("scope", "https://vault.azure.net/.default"),
        ];
        let token: Value = self.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        let url = format!("https://kv-plexlab.vault.azure.net/secrets/{name}?api-version=7.4");
        let request = self.http.put(url).bearer_auth(token["access_token"].as_str().unwrap());
        let answer = request.json(&json!({"value": value})).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}

async fn external_secret(face: &Face, name: &str, note: &str) {
    let manifest = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": "default", "annotations": {"note": note}},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"name": "azure-backend", "kind": "ClusterSecretStore"},
            "data": [{"secretKey": "value", "remoteRef": {"key": "shared"}}],
        },
    });
    let path = format!("/apis/external-secrets.io/v1/namespaces/default/externalsecrets/{name}");
    let status = face.kube_apply(&path, manifest.to_string()).await;
    assert!(status == 200 || status == 201, "{status}");
}

/// Waits until the Secret holds this (base64).
async fn until_value(face: &Face, name: &str, value: &str) {
    let waited = eventually(format!("{value} in the Secret {name}"), SOON, || async {
        let (_, secret) = face.kube(&format!("/api/v1/namespaces/default/secrets/{name}")).await;
        match secret["data"]["value"].as_str() {
            Some(found) if found == value => Check::Done(()),
            found => Check::NotYet(format!("{found:?}")),
        }
    });
    waited.await.unwrap();
}

/// `one`, `two` and `three` in base64.
const VALUES: [&str; 3] = ["b25l", "dHdv", "dGhyZWU="];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_and_a_snapshot_have_the_clouds_secrets() {
    plexlab_lab::tls::install_provider();
    let lab = Lab::new();
    let up = ["up", "--name", "origin", "--nodes", "1", "--port", "0"];
    let clouds = ["--cloud", "aws", "--cloud", "azure", "--cloud", "google"];
    lab.run(&[up.as_slice(), &clouds].concat()).expect_success("up");
    let (face, customer) = (Face::of(&lab, "origin"), Customer::of(&lab, "origin"));
    for name in [
        "AWS_ENDPOINT_URL",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "GOOGLE_CLOUD_PROJECT",
    ] {
        assert!(customer.variables.contains_key(name), "{name}");
    }
    let key = std::fs::read_to_string(&customer.variables["GOOGLE_APPLICATION_CREDENTIALS"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&key).unwrap()["type"], "service_account");
    customer.put("shared", "one").await;
    external_secret(&face, "mine", "first").await;
    until_value(&face, "mine", VALUES[0]).await;
    for (component, text) in
        [("azure", "azure stand-in is ready"), ("google", "ready"), ("internet", "ready")]
    {
        let log = lab.run(&["logs", component, "--name", "origin"]).expect_success("logs").stdout;
        assert!(log.contains(text), "{component}: {log}");
        assert!(!log.contains(&customer.variables["AZURE_CLIENT_SECRET"]), "{component}");
    }

    lab.run(&["fork", "--of", "origin", "--name", "copy"]).expect_success("fork");
    let (copy, customer_of_copy) = (Face::of(&lab, "copy"), Customer::of(&lab, "copy"));
    assert_ne!(customer.variables["AZURE_CLIENT_SECRET"], customer_of_copy.variables["AZURE_CLIENT_SECRET"]);
    // The copy's operator reads what was there, with the copy's own credentials.
    external_secret(&copy, "fresh", "first").await;
    until_value(&copy, "fresh", VALUES[0]).await;
    customer.put("shared", "two").await;
    customer_of_copy.put("shared", "three").await;
    external_secret(&face, "mine", "second").await;
    external_secret(&copy, "mine", "second").await;
    until_value(&face, "mine", VALUES[1]).await;
    until_value(&copy, "mine", VALUES[2]).await;

    lab.run(&["snapshot", "save", "kept", "--name", "copy"]).expect_success("snapshot save");
    customer_of_copy.put("shared", "one").await;
    lab.run(&["snapshot", "restore", "kept", "--name", "again", "--port", "0"])
        .expect_success("snapshot restore");
    let again = Face::of(&lab, "again");
    external_secret(&again, "later", "first").await;
    until_value(&again, "later", VALUES[2]).await;
}

#[test]
fn a_cloud_that_the_stack_does_not_have_has_no_log() {
    let lab = Lab::new();
    lab.run(&["up", "--nodes", "1", "--port", "0", "--cloud", "aws"]).expect_success("up");
    assert!(lab.run(&["logs", "aws"]).expect_success("logs").stdout.contains("aws stand-in is ready"));
    let refused = lab.run(&["logs", "google"]);
    assert!(
        refused.stderr.contains("google has no pod") && refused.stderr.contains("up --cloud"),
        "{refused:#?}"
    );
}
