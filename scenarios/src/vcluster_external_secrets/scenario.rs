//! The script: the page from its prerequisites to its last common issue.

use std::time::Duration;

use plexlab_harness::run::{Failure, Run};
use plexlab_harness::stack::plan::ObjectRef;
use plexlab_lab::{Check, consistently};
use serde_json::{Value, json};

use super::ground::{Ground, NAME, TEAM};
use super::page::{self, corrected, labelled, printed};
use crate::clients::cluster::{Cluster, SOON};
use crate::clients::objects::{Objects, named, shown};

/// How long nothing must come.
const LONG_ENOUGH: Duration = Duration::from_secs(1);
/// The label that the advanced configuration asks for.
const SYNC: (&str, &str) = ("sync", "true");
/// The label of stores that virtual clusters may see.
const ACCESSIBLE: &str = "vcluster-accessible";

fn external_secret(namespace: &str, name: &str) -> ObjectRef {
    named("external-secrets.io/v1", "ExternalSecret", namespace, name)
}

fn store(name: &str) -> ObjectRef {
    named("external-secrets.io/v1", "ClusterSecretStore", "", name)
}

/// The host's copy of an object of the virtual cluster.
fn copy(of: &ObjectRef) -> ObjectRef {
    let name = format!("{}-x-{}-x-{NAME}", of.name, of.namespace.as_deref().unwrap_or_default());
    ObjectRef { namespace: Some(TEAM.to_owned()), name, ..of.clone() }
}

/// Runs the scenario.
///
/// # Errors
/// When a step does not go as it should.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let ground = Ground::of(run)?;
    ground.operator.step("fill the stores, and let the page's accounts read them", ground.fill()).await?;
    ground.operator.step("check the prerequisites", prerequisites(&ground)).await?;
    conflicts(&ground).await?;
    let inner =
        ground.operator.step("create my-vcluster with the basic configuration", ground.connect(page::BASIC));
    basic(&ground, &inner.await?).await?;
    let values = page::advanced();
    let inner = ground
        .operator
        .step("change to the advanced configuration, stores switched on", ground.connect(&values));
    let tenant = Tenant { ground: &ground, inner: inner.await? };
    tenant.cluster_stores().await?;
    tenant.selective().await?;
    tenant.vault().await?;
    tenant.clouds().await?;
    tenant.refresh().await
}

/// The operator runs, its kinds are there, and at least one store is.
async fn prerequisites(ground: &Ground<'_>) -> Result<(), Failure> {
    let all = [
        named("apps/v1", "Deployment", "external-secrets", "external-secrets"),
        named(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            "externalsecrets.external-secrets.io",
        ),
        store("vault-backend"),
    ];
    for object in all {
        if ground.host.get(&object).await?.is_none() {
            return Err(Failure::expected(object.to_string(), "nothing of that name"));
        }
    }
    Ok(())
}

/// Configurations that are refused.
async fn conflicts(ground: &Ground<'_>) -> Result<(), Failure> {
    let refused = async {
        let cases = [
            (
                "conflicting",
                "team-y",
                page::CONFLICT,
                "external-secrets integration is enabled but external-secrets custom resource",
            ),
            (
                "private",
                "team-z",
                page::PRIVATE,
                "external-secrets integration is not supported in private nodes mode",
            ),
        ];
        for (name, namespace, values, _) in cases {
            ground.create(name, namespace, values).await?;
        }
        for (name, namespace, _, message) in cases {
            ground.until_logged((name, namespace), message).await?;
            ground.host.delete(&named("apps/v1", "Deployment", namespace, name)).await?;
        }
        Ok(())
    };
    let what =
        "issue: integration conflicts; and private nodes: see both configurations refused by their messages";
    ground.operator.step(what, refused).await
}

/// What the basic configuration does: no stores come, all ExternalSecrets go.
async fn basic(ground: &Ground<'_>, inner: &Objects) -> Result<(), Failure> {
    let tenant = Tenant { ground, inner: inner.clone() };
    let own = external_secret("default", "aws-secret");
    let unserved = async {
        let refused = Cluster::new(inner.client().clone()).apply(&printed(page::AWS_SECRET)?).await;
        match refused {
            Err(failure) if failure.seen.contains("not found") => Ok(()),
            other => Err(Failure::expected("v1beta1 not served", format!("{other:?}"))),
        }
    };
    ground.tenant.step("see the page's v1beta1 refused", unserved).await?;
    let invisible = async {
        match inner.get(&store("aws-secrets-manager")).await? {
            None => Ok(()),
            Some(_) => Err(Failure::expected("no ClusterSecretStores", "one")),
        }
    };
    ground
        .tenant
        .step("issue: ClusterSecretStores not visible: see none without the switch", invisible)
        .await?;
    let fails = async {
        tenant.apply(page::AWS_SECRET, &[]).await?;
        inner
            .until_condition(&own, ("Ready", "False", "could not get secret data from provider"), SOON)
            .await?;
        tenant.until_told(&copy(&own), "could not get ClusterSecretStore \"aws-parameter-store\"").await
    };
    ground
        .tenant
        .step("issue: no Secret is created: read the status, and the host's event that tells why", fails)
        .await?;
    let mends = async {
        let mut store = corrected(page::AWS_STORE, "")?.remove(0);
        store["metadata"] = json!({"name": "aws-parameter-store"});
        store["spec"]["provider"]["aws"]["service"] = json!("ParameterStore");
        ground.cluster.apply(&[store]).await?;
        inner.annotate(&own, "force-sync", "1").await?;
        tenant.until_synced(&own).await?;
        inner.until_secret(("default", "my-app-secret"), ("password", "first"), SOON).await
    };
    ground.operator.step("define the store that the page names and never defines", mends).await?;
    let on_host = async {
        let there = ground.host.get(&copy(&own)).await?.unwrap_or_default();
        if there["status"]["syncedResourceVersion"].as_str().is_none_or(|version| !version.starts_with("1-"))
        {
            return Err(Failure::expected("a synced copy", there["status"].to_string()));
        }
        let secret = named("v1", "Secret", TEAM, &format!("my-app-secret-x-default-x-{NAME}"));
        ground.host.get(&secret).await?.map(drop).ok_or_else(|| Failure::expected(secret.to_string(), "none"))
    };
    ground
        .operator
        .step("validate on the host: the copy and its Secret, under their names there", on_host)
        .await
}

struct Tenant<'g, 'r> {
    ground: &'g Ground<'r>,
    inner: Objects,
}

impl Tenant<'_, '_> {
    async fn apply(&self, manifest: &str, labels: &[(&str, &str)]) -> Result<(), Failure> {
        let objects = corrected(manifest, self.ground.vault_url)?;
        let objects: Vec<Value> = objects.into_iter().map(|object| labelled(object, labels)).collect();
        for object in &objects {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            Cluster::new(self.inner.client().clone()).apply(&[namespace]).await?;
        }
        Cluster::new(self.inner.client().clone()).apply(&objects).await
    }

    async fn until_synced(&self, of: &ObjectRef) -> Result<Value, Failure> {
        self.inner.until_condition(of, ("Ready", "True", "SecretSynced"), SOON).await
    }

    /// An event of the host about an object has this text.
    async fn until_told(&self, about: &ObjectRef, text: &str) -> Result<(), Failure> {
        let found =
            plexlab_lab::eventually(format!("an event about {about} with {text:?}"), SOON, || async {
                match self.ground.host.events(about).await {
                    Ok(events) if events.iter().any(|event| event.contains(text)) => Check::Done(()),
                    Ok(events) => Check::NotYet(events.last().cloned().unwrap_or("no event".to_owned())),
                    Err(failure) => Check::NotYet(failure.seen),
                }
            });
        Ok(found.await?)
    }

    /// Stores come by their label and go with it.
    async fn cluster_stores(&self) -> Result<(), Failure> {
        let (ground, inner) = (self.ground, &self.inner);
        let visible = async {
            ground.cluster.apply(&corrected(page::AWS_STORE, ground.vault_url)?).await?;
            inner.until_condition(&store("aws-secrets-manager"), ("Ready", "True", "Valid"), SOON).await?;
            let hidden = inner.get(&store("aws-parameter-store")).await?;
            hidden.map_or(Ok(()), |_| Err(Failure::expected("no store without the label", "one")))
        };
        ground
            .operator
            .step(
                "create the page's store: it comes to the virtual cluster, one without a label does not",
                visible,
            )
            .await?;
        let label = |value: Value| json!({"metadata": {"labels": {ACCESSIBLE: value}}});
        let comes = async {
            let other = store("aws-parameter-store");
            ground.host.merge(&other, &label("true".into())).await?;
            inner.until_condition(&other, ("Ready", "True", "Valid"), SOON).await?;
            ground.host.merge(&other, &label(Value::Null)).await?;
            inner.until_gone(&other, SOON).await
        };
        ground.operator.step("label the other store: it comes; take the label away: it goes", comes).await
    }

    /// The complete example, with the label coming and going.
    async fn selective(&self) -> Result<(), Failure> {
        let (ground, inner) = (self.ground, &self.inner);
        let own = external_secret("production", "database-credentials");
        let label = |value: Value| json!({"metadata": {"labels": {SYNC.0: value}}});
        let alone = async {
            self.apply(page::DATABASE, &[]).await?;
            let look = || async {
                match ground.host.get(&copy(&own)).await {
                    Ok(None) => None,
                    Ok(Some(_)) => Some("there is a copy".to_owned()),
                    Err(failure) => Some(failure.seen),
                }
            };
            Ok(consistently("no copy in the host", LONG_ENOUGH, look).await?)
        };
        ground
            .tenant
            .step(
                "create the ExternalSecret of the complete example: without the label it stays alone",
                alone,
            )
            .await?;
        let comes = async {
            inner.merge(&own, &label("true".into())).await?;
            self.until_synced(&own).await?;
            for (key, value) in [("username", "app"), ("password", "one"), ("port", "5432")] {
                inner.until_secret(("production", "db-credentials"), (key, value), SOON).await?;
            }
            Ok(())
        };
        ground.tenant.step("label it: its Secret comes, with a key for each field", comes).await?;
        let goes = async {
            inner.merge(&own, &label(Value::Null)).await?;
            ground.host.until_gone(&copy(&own), SOON).await?;
            inner.merge(&own, &label("true".into())).await?;
            ground.host.until_condition(&copy(&own), ("Ready", "True", "SecretSynced"), SOON).await.map(drop)
        };
        ground
            .tenant
            .step("take the label away: the host's copy goes; label it again: it is back", goes)
            .await
    }

    /// Vault by a store of the host, and by one of the virtual cluster.
    async fn vault(&self) -> Result<(), Failure> {
        let (ground, inner) = (self.ground, &self.inner);
        let of_host = async {
            ground.cluster.apply(&corrected(page::VAULT_STORE, ground.vault_url)?).await?;
            inner.until_condition(&store("vault-backend"), ("Ready", "True", "Valid"), SOON).await?;
            self.apply(page::API_KEYS, &[SYNC]).await?;
            self.until_synced(&external_secret("default", "api-keys")).await?;
            inner.until_secret(("default", "api-credentials"), ("apiKey", "k-1"), SOON).await?;
            inner.until_secret(("default", "api-credentials"), ("apiSecret", "s-1"), SOON).await
        };
        ground.tenant.step("read Vault through the host's store", of_host).await?;
        let own = async {
            ground.team_accounts(false).await?;
            self.apply(page::SECRET_STORE, &[("shared", "true")]).await?;
            let store = named("external-secrets.io/v1", "SecretStore", "default", "vault-backend");
            inner.until_condition(&store, ("Ready", "True", "Valid"), SOON).await.map(drop)
        };
        ground
            .tenant
            .step("create a SecretStore in the virtual cluster: the host's operator finds it valid", own)
            .await
    }

    /// Several clouds at once, and an account without rights.
    async fn clouds(&self) -> Result<(), Failure> {
        let (ground, inner) = (self.ground, &self.inner);
        let of = |name: &str, store: &str, key: &str| {
            json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": {"name": name, "namespace": "default", "labels": {SYNC.0: SYNC.1}},
                "spec": {"refreshInterval": "1h", "secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
                    "target": {"name": name}, "data": [{"secretKey": "value", "remoteRef": {"key": key}}]}})
        };
        let aws = external_secret("default", "from-aws");
        let denied = async {
            ground.cluster.apply(&corrected(page::CLOUDS, ground.vault_url)?).await?;
            for name in ["aws-store", "azure-store", "gcp-store"] {
                inner.until_condition(&store(name), ("Ready", "True", "Valid"), SOON).await?;
            }
            let objects = [
                of("from-aws", "aws-store", "production/database"),
                of("from-azure", "azure-store", "team-secret"),
                of("from-google", "gcp-store", "team-secret"),
            ];
            Cluster::new(inner.client().clone()).apply(&objects).await?;
            inner
                .until_condition(&aws, ("Ready", "False", "could not get secret data from provider"), SOON)
                .await?;
            let why = format!(
                "an IAM role must be associated with service account external-secrets (namespace: {TEAM})"
            );
            self.until_told(&copy(&aws), &why).await
        };
        ground
            .tenant
            .step("issue: permission denied: the account beside the copy has no role", denied)
            .await?;
        let mended = async {
            ground.team_accounts(true).await?;
            for name in ["from-aws", "from-azure", "from-google"] {
                let own = external_secret("default", name);
                inner.annotate(&own, "force-sync", "1").await?;
                self.until_synced(&own).await?;
            }
            inner.until_secret(("default", "from-google"), ("value", "from-google"), SOON).await?;
            inner.until_secret(("default", "from-azure"), ("value", "from-azure"), SOON).await
        };
        ground
            .operator
            .step("annotate it in the host: AWS, Azure and Google are read side by side", mended)
            .await
    }

    /// A value that changes upstream.
    async fn refresh(&self) -> Result<(), Failure> {
        let (ground, inner) = (self.ground, &self.inner);
        let own = external_secret("production", "database-credentials");
        let stays = async {
            let database = json!({"username": "app", "password": "two", "host": "db", "port": 5432});
            ground.aws.put("production/database", &database.to_string()).await?;
            let look = || async {
                match inner.has_secret(("production", "db-credentials"), ("password", "one")).await {
                    Ok(true) => None,
                    Ok(false) => Some("another value".to_owned()),
                    Err(failure) => Some(failure.seen),
                }
            };
            Ok(consistently("the old value", LONG_ENOUGH, look).await?)
        };
        ground
            .tenant
            .step(
                "issue: Secrets not refreshing: a new value does not come before the interval of 15 minutes",
                stays,
            )
            .await?;
        let forced = async {
            inner.annotate(&own, "force-sync", "1").await?;
            inner.until_secret(("production", "db-credentials"), ("password", "two"), SOON).await
        };
        ground.tenant.step("force it with the annotation", forced).await?;
        let again = async {
            let database = json!({"username": "app", "password": "three", "host": "db", "port": 5432});
            ground.aws.put("production/database", &database.to_string()).await?;
            inner.delete(&own).await?;
            inner.until_gone(&own, SOON).await?;
            ground.host.until_gone(&copy(&own), SOON).await?;
            self.apply(page::DATABASE, &[SYNC]).await?;
            let synced = self.until_synced(&own).await?;
            if !synced["status"]["refreshTime"].is_string() {
                return Err(Failure::expected("a time of refresh", shown(&synced, "Ready")));
            }
            inner.until_secret(("production", "db-credentials"), ("password", "three"), SOON).await
        };
        ground.tenant.step("or delete the ExternalSecret and create it again", again).await
    }
}
