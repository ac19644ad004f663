//! The script.
//!
//! As printed, the specification does not work with Flux: the store and the HelmRelease that brings its kind are applied
//! together, and nothing is applied when the dry run of one of them fails. The scenario shows that, and then makes the
//! smallest correction ([`tree::corrected`]): the Helm kinds become a stage of their own, and a failed reconcile is tried
//! again after two seconds. From then on all goes as the specification says: the store fails first, and comes by itself
//! once its kind is there.
//!
//! Two of the specification's checks are not made: `pnpm lint`, as there is no site to lint, and `SecretSynced` at the
//! store, which only an ExternalSecret can be.

use std::time::Duration;

use plexlab_harness::clouds::{AZURE_NODES_VAULT, Cloud, Keeper};
use plexlab_harness::flux;
use plexlab_harness::run::{Failure, Party, Run};
use plexlab_harness::stack::plan::ObjectRef;
use plexlab_lab::{Check, consistently};
use serde_json::Value;

use super::repository::Repository;
use super::tree::{self, Changes};
use crate::clients::cluster::{Cluster, SOON};
use crate::clients::keeper::Customer;
use crate::clients::objects::{Objects, condition, named, shown};

/// The value that the specification expects.
const FQDN: &str = "psql-kevinryan-io.postgres.database.azure.com";
/// Versions of the chart; the specification's range allows the second and the third.
const CHARTS: [&str; 5] = ["0.14.4", "0.15.0", "0.20.4", "1.0.0", "2.9.0"];
/// The newest that it allows.
const CHART: &str = "0.20.4";
/// How long nothing must come by itself.
const LONG_ENOUGH: Duration = Duration::from_secs(1);
/// The annotation by which `flux reconcile` asks.
const REQUESTED: &str = "reconcile.fluxcd.io/requestedAt";
/// What Flux says of the store while its kind is not there.
const NO_KIND: &str = "ReconciliationFailed: ClusterSecretStore/azure-keyvault dry-run failed: no matches for kind \
                       \"ClusterSecretStore\" in version \"external-secrets.io/v1\"";

const OPERATOR: &str = "external-secrets";

fn kustomization(name: &str) -> ObjectRef {
    named("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", name)
}

fn source() -> ObjectRef {
    named("source.toolkit.fluxcd.io/v1", "GitRepository", "flux-system", "flux-system")
}

fn release() -> ObjectRef {
    named("helm.toolkit.fluxcd.io/v2", "HelmRelease", OPERATOR, OPERATOR)
}

fn store() -> ObjectRef {
    named("external-secrets.io/v1", "ClusterSecretStore", "", "azure-keyvault")
}

fn test() -> ObjectRef {
    named("external-secrets.io/v1", "ExternalSecret", OPERATOR, "test-kv-access")
}

struct Ground<'r> {
    objects: Objects,
    cluster: Cluster,
    repository: Repository,
    operator: Party<'r>,
    agent: Party<'r>,
}

/// Runs the scenario.
///
/// # Errors
/// When a step does not go as it should.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let (terraform, vendor) = (run.party("terraform"), run.party("vendor"));
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let server = run.stack.addresses.git_server.as_deref();
    let server = server.ok_or_else(|| Failure::expected("a server of repositories", "none"))?;
    let ground = Ground {
        objects: Objects::new(run.stack.client.clone()),
        cluster: Cluster::new(run.stack.client.clone()),
        repository: Repository::new(http.clone(), server),
        operator: run.party("operator"),
        agent: run.party("agent"),
    };
    terraform.step("write the database's secrets to Key Vault", write_secrets(run, &http)).await?;
    vendor.step("publish five versions of the chart", publish(run, &ground)).await?;
    ground.bootstrap().await?;
    ground.as_printed().await?;
    ground.corrected().await?;
    ground.validate().await?;
    ground.secret().await?;
    ground.prune().await
}

async fn write_secrets(run: &Run, http: &reqwest::Client) -> Result<(), Failure> {
    let Customer::Azure(azure) = Customer::of(&run.stack, Keeper::Cloud(Cloud::Azure), http)? else {
        return Err(Failure::expected("a client of Azure", "another"));
    };
    let vault = azure.in_vault(AZURE_NODES_VAULT);
    for (name, value) in
        [("pg-fqdn", FQDN), ("pg-admin-username", "pgadmin"), ("pg-admin-password", "not-read-here")]
    {
        vault.put(name, value).await?;
    }
    Ok(())
}

async fn publish(run: &Run, ground: &Ground<'_>) -> Result<(), Failure> {
    for version in CHARTS {
        ground.repository.publish(&flux::chart(&run.stack.spec.images, version)?).await?;
    }
    Ok(())
}

impl Ground<'_> {
    /// `flux reconcile kustomization flux-system --with-source`, until this revision is there.
    async fn reconcile(&self, revision: &str) -> Result<(), Failure> {
        let now = format!("{revision} {}", jiff::Timestamp::now());
        self.objects.annotate(&source(), REQUESTED, &now).await?;
        self.objects.until_condition(&source(), ("Ready", "True", revision), SOON).await?;
        self.objects.annotate(&kustomization("flux-system"), REQUESTED, &now).await
    }

    async fn push(&self, message: &str, files: Changes) -> Result<String, Failure> {
        let revision = self.repository.commit(message, &files).await?;
        self.reconcile(&revision).await?;
        Ok(revision)
    }

    /// The repository as the specification finds it.
    async fn bootstrap(&self) -> Result<(), Failure> {
        let begin = async {
            let revision = self.repository.commit("Sites", &tree::before(&flux::components())).await?;
            self.cluster.apply(&tree::documents(tree::SOURCE)?).await?;
            for name in ["flux-system", "kevinryan-io", "docs-kevinryan-io"] {
                self.objects
                    .until_condition(&kustomization(name), ("Ready", "True", &revision), SOON)
                    .await?;
            }
            Ok(())
        };
        self.operator.step("bootstrap Flux with seven sites", begin).await
    }

    /// The specification's change, and why it does not work.
    async fn as_printed(&self) -> Result<(), Failure> {
        let push = self.push("External Secrets Operator", tree::as_printed());
        self.agent.step("commit the specification's files as printed", push).await?;
        let own = kustomization(OPERATOR);
        let fails = async {
            self.objects.until_condition(&own, ("Ready", "False", NO_KIND), SOON).await?;
            let namespace = named("v1", "Namespace", "", OPERATOR);
            let there = self.objects.get(&namespace).await?;
            there.map(drop).ok_or_else(|| Failure::expected("the namespace, which is applied first", "none"))
        };
        self.operator.step("see the store fail, as its kind is not there yet", fails).await?;
        let stuck = async {
            let now = jiff::Timestamp::now().to_string();
            self.objects.annotate(&own, REQUESTED, &now).await?;
            let tried = |object: Option<&Value>| match object {
                Some(object) if object["status"]["lastHandledReconcileAt"] == now => {
                    Check::Done(object.clone())
                }
                _ => Check::NotYet("the request was not handled".to_owned()),
            };
            let tried = self.objects.until("to be tried again", &own, SOON, tried).await?;
            if !shown(&tried, "Ready").contains(NO_KIND) {
                return Err(Failure::expected(NO_KIND, shown(&tried, "Ready")));
            }
            let look = || async {
                match self.objects.get(&release()).await {
                    Ok(None) => None,
                    Ok(Some(_)) => Some("there is a HelmRelease".to_owned()),
                    Err(failure) => Some(failure.seen),
                }
            };
            Ok(consistently("no HelmRelease, which would bring that kind", LONG_ENOUGH, look).await?)
        };
        self.operator.step("see that retrying does not help: the HelmRelease is never applied", stuck).await
    }

    /// The correction, after which nobody has to do anything.
    async fn corrected(&self) -> Result<(), Failure> {
        let push = self.push("Apply the Helm kinds first, and try again soon", tree::corrected());
        let revision =
            self.agent.step("correct it: a stage for the Helm kinds, and a retryInterval", push).await?;
        let own = kustomization(OPERATOR);
        let first = async {
            self.objects.until("to be applied", &release(), SOON, there).await?;
            self.objects.until_condition(&own, ("Ready", "False", NO_KIND), SOON).await.map(drop)
        };
        self.operator
            .step("see the HelmRelease applied, and the store fail before its kind is there", first)
            .await?;
        let applied = async {
            let message = format!(
                "Helm install succeeded for release {OPERATOR}/{OPERATOR}.v1 with chart {OPERATOR}@{CHART}"
            );
            self.objects.until_condition(&release(), ("Ready", "True", &message), SOON).await?;
            self.objects
                .until_condition(&own, ("Ready", "True", &format!("Applied revision: {revision}")), SOON)
                .await
                .map(drop)
        };
        self.operator
            .step("see the chart installed, and the store applied without intervention", applied)
            .await
    }

    /// The specification's validation steps, as far as a cluster shows them.
    async fn validate(&self) -> Result<(), Failure> {
        let four = async {
            let applied = self.objects.get(&kustomization(OPERATOR)).await?.unwrap_or_default();
            let entries = applied["status"]["inventory"]["entries"].as_array().cloned().unwrap_or_default();
            let mut ids: Vec<&str> = entries.iter().filter_map(|entry| entry["id"].as_str()).collect();
            ids.sort_unstable();
            let wanted = [
                "_azure-keyvault_external-secrets.io_ClusterSecretStore",
                "_external-secrets__Namespace",
                "external-secrets_external-secrets_helm.toolkit.fluxcd.io_HelmRelease",
                "external-secrets_external-secrets_source.toolkit.fluxcd.io_HelmRepository",
            ];
            equal("the objects of exactly four files", &wanted[..], &ids[..])
        };
        self.operator.step("check that Flux keeps exactly four objects there", four).await?;
        let chart = async {
            let repository = named("source.toolkit.fluxcd.io/v1", "HelmRepository", OPERATOR, OPERATOR);
            let repository = self.objects.get(&repository).await?.unwrap_or_default();
            equal("the charts' address", "https://charts.external-secrets.io", &repository["spec"]["url"])?;
            let release = self.objects.get(&release()).await?.unwrap_or_default();
            equal("the chart", "external-secrets", &release["spec"]["chart"]["spec"]["chart"])?;
            equal("what definitions are for", "CreateReplace", &release["spec"]["install"]["crds"])?;
            equal("installCRDs", &Value::Bool(true), &release["spec"]["values"]["installCRDs"])?;
            equal("the chart's version", CHART, &release["status"]["history"][0]["chartVersion"])?;
            equal("the release's status", "deployed", &release["status"]["history"][0]["status"])
        };
        self.operator
            .step("check the repository, the release and the version that the range names", chart)
            .await?;
        let store = async {
            let store = self.objects.until_condition(&store(), ("Ready", "True", "Valid"), SOON).await?;
            let azure = &store["spec"]["provider"]["azurekv"];
            equal("the way to sign in", "ManagedIdentity", &azure["authType"])?;
            equal("the vault", "https://kv-kevinryan-io.vault.azure.net/", &azure["vaultUrl"])?;
            let sync = self.objects.get(&kustomization(OPERATOR)).await?.unwrap_or_default();
            equal("the path", "./k8s/external-secrets", &sync["spec"]["path"])?;
            equal("the source", "flux-system", &sync["spec"]["sourceRef"]["name"])
        };
        self.operator.step("check the store: Valid, by managed identity", store).await?;
        let pods = async {
            let operator = named("apps/v1", "Deployment", OPERATOR, OPERATOR);
            self.objects
                .until("to run", &operator, SOON, |object| match object {
                    Some(object) if object["status"]["readyReplicas"] == 1 => Check::Done(()),
                    Some(object) => Check::NotYet(object["status"].to_string()),
                    None => Check::NotYet("it is not there".to_owned()),
                })
                .await
        };
        self.operator.step("check that the operator's pods run", pods).await
    }

    /// The specification's test of the whole way.
    async fn secret(&self) -> Result<(), Failure> {
        let read = async {
            self.cluster.apply(&tree::documents(tree::TEST)?).await?;
            self.objects.until_condition(&test(), ("Ready", "True", "SecretSynced"), SOON).await?;
            self.objects.until_secret((OPERATOR, "test-kv-access"), ("pg-fqdn", FQDN), SOON).await
        };
        self.operator.step("read pg-fqdn through an ExternalSecret", read).await?;
        let clean = async {
            self.objects.delete(&test()).await?;
            self.objects.until_gone(&test(), SOON).await?;
            self.objects.until_gone(&named("v1", "Secret", OPERATOR, "test-kv-access"), SOON).await
        };
        self.operator.step("clean up the test", clean).await
    }

    /// What leaves the tree leaves the cluster.
    async fn prune(&self) -> Result<(), Failure> {
        let one = async {
            let revision = self.push("No store", tree::without_store()).await?;
            self.objects.until_gone(&store(), SOON).await?;
            let applied = format!("Applied revision: {revision}");
            self.objects.until_condition(&kustomization(OPERATOR), ("Ready", "True", &applied), SOON).await?;
            let release = self.objects.get(&release()).await?.unwrap_or_default();
            equal("the release, which stays", "True", &condition(&release, "Ready")["status"])
        };
        self.agent.step("take the store out of the tree, and see it go alone", one).await?;
        let all = async {
            self.push("No operator", tree::without_operator()).await?;
            for gone in [kustomization(OPERATOR), release(), named("v1", "Namespace", "", OPERATOR)] {
                self.objects.until_gone(&gone, SOON).await?;
            }
            let site = self.objects.get(&kustomization("kevinryan-io")).await?;
            site.map(drop).ok_or_else(|| Failure::expected("the sites, which stay", "none"))
        };
        self.agent.step("take the rest out of the tree, and see it go", all).await
    }
}

fn there(object: Option<&Value>) -> Check<()> {
    match object {
        Some(_) => Check::Done(()),
        None => Check::NotYet("it is not there".to_owned()),
    }
}

fn equal<A: std::fmt::Debug + ?Sized, B: std::fmt::Debug + PartialEq<A> + ?Sized>(
    what: &str,
    expected: &A,
    seen: &B,
) -> Result<(), Failure> {
    if seen == expected {
        return Ok(());
    }
    Err(Failure::expected(format!("{what} to be {expected:?}"), format!("{seen:?}")))
}
