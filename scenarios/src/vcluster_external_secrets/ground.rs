//! The host: its stores with what is in them, the accounts that read them, and the virtual cluster.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams, LogParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use plexlab_harness::clouds::secrets::AZURE_READER;
use plexlab_harness::clouds::{AWS_ACCOUNT, AZURE_TEAM_VAULT, AZURE_TENANT, Cloud, Keeper};
use plexlab_harness::run::{Failure, Party, Run};
use plexlab_harness::vcluster;
use plexlab_lab::{Check, eventually};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::clients::aws::Aws;
use crate::clients::azure::Azure;
use crate::clients::cluster::{Cluster, SOON};
use crate::clients::google::Google;
use crate::clients::keeper::Customer;
use crate::clients::objects::{Objects, named};
use crate::clients::vault::Vault;
use crate::vcluster_external_secrets::page::OTHER_MOUNT;

/// The virtual cluster of the page.
pub const NAME: &str = "my-vcluster";
/// Its namespace in the host.
pub const TEAM: &str = "team-x";
/// The namespace of the page's operator.
const SYSTEM: &str = "external-secrets-system";

/// All that the scenario works with.
pub struct Ground<'r> {
    /// Who has the host.
    pub operator: Party<'r>,
    /// Who has the virtual cluster.
    pub tenant: Party<'r>,
    /// The host's objects.
    pub host: Objects,
    /// The host.
    pub cluster: Cluster,
    /// Vault.
    pub vault: Vault,
    /// Vault's address as the operator reaches it.
    pub vault_url: &'static str,
    /// AWS.
    pub aws: Aws,
    azure: Azure,
    google: Google,
    /// Who reads at Google.
    google_reader: String,
    kubernetes: String,
}

fn account(namespace: &str, name: &str, annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations}})
}

/// The role that a ServiceAccount takes at AWS.
pub fn role() -> String {
    format!("arn:aws:iam::{AWS_ACCOUNT}:role/external-secrets")
}

impl<'r> Ground<'r> {
    /// Clients of the host and of its stores.
    ///
    /// # Errors
    /// When the stack lacks one.
    pub fn of(run: &'r Run) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let of = |keeper| Customer::of(&run.stack, keeper, &http);
        let cloud = |cloud| of(Keeper::Cloud(cloud));
        let (Customer::Vault(vault), Customer::Aws(aws), Customer::Azure(azure), Customer::Google(google)) =
            (of(Keeper::Vault)?, cloud(Cloud::Aws)?, cloud(Cloud::Azure)?, cloud(Cloud::Google)?)
        else {
            return Err(Failure::expected("clients of four stores", "others"));
        };
        let reader = run.stack.secrets.clouds.google.as_ref().map(|accounts| accounts.reader.email.clone());
        let google_reader = reader.ok_or_else(|| Failure::expected("an account at Google", "none"))?;
        let client = run.stack.client.clone();
        Ok(Self {
            operator: run.party("operator"),
            tenant: run.party("tenant"),
            host: Objects::new(client.clone()),
            cluster: Cluster::new(client),
            vault,
            vault_url: "http://vault.vault.svc.cluster.local:8200",
            aws,
            azure: azure.in_vault(AZURE_TEAM_VAULT),
            google,
            google_reader,
            kubernetes: run.stack.addresses.kubernetes.clone(),
        })
    }

    /// Puts what the page reads into the stores, and lets the page's accounts read it.
    ///
    /// # Errors
    /// When a store refuses.
    pub async fn fill(&self) -> Result<(), Failure> {
        self.aws.put_parameter("/production/database/password", "first").await?;
        let database = json!({"username": "app", "password": "one", "host": "db", "port": 5432});
        self.aws.put("production/database", &database.to_string()).await?;
        self.azure.put("team-secret", "from-azure").await?;
        self.google.put("team-secret", "from-google").await?;
        let vault = &self.vault;
        let entry = json!({"data": {"api_key": "k-1", "api_secret": "s-1"}});
        vault.write("secret/data/apps/my-app", &entry).await?;
        let policy = json!({"policy": "path \"secret/data/apps/*\" { capabilities = [\"read\"] }"});
        vault.write("sys/policies/acl/apps", &policy).await?;
        for (mount, role, account, namespace) in [
            ("kubernetes/vcluster", "external-secrets", "external-secrets", "external-secrets"),
            (OTHER_MOUNT, "demo-role", "external-secrets-sa", TEAM),
        ] {
            vault.write(&format!("sys/auth/{mount}"), &json!({"type": "kubernetes"})).await?;
            vault
                .write(&format!("auth/{mount}/config"), &json!({"kubernetes_host": self.kubernetes}))
                .await?;
            let role_body = json!({"bound_service_account_names": [account],
                "bound_service_account_namespaces": [namespace], "token_policies": ["apps"]});
            vault.write(&format!("auth/{mount}/role/{role}"), &role_body).await?;
        }
        let namespace =
            |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let of_aws = json!({"eks.amazonaws.com/role-arn": role()});
        self.cluster.apply(&[namespace(SYSTEM), account(SYSTEM, "external-secrets", of_aws)]).await
    }

    /// The host's accounts for stores that name one without its namespace: it is looked for beside the ExternalSecret's
    /// copy, in the virtual cluster's namespace.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn team_accounts(&self, is_annotated: bool) -> Result<(), Failure> {
        let annotations = if is_annotated {
            json!({"eks.amazonaws.com/role-arn": role(), "azure.workload.identity/client-id": AZURE_READER,
                "azure.workload.identity/tenant-id": AZURE_TENANT,
                "iam.gke.io/gcp-service-account": self.google_reader})
        } else {
            json!({})
        };
        let accounts =
            [account(TEAM, "external-secrets", annotations), account(TEAM, "external-secrets-sa", json!({}))];
        self.cluster.apply(&accounts).await
    }

    /// `vcluster create`: applies it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(&self, name: &str, namespace: &str, values: &str) -> Result<(), Failure> {
        self.cluster.apply(&vcluster::objects(name, namespace, values)?).await
    }

    /// The same for the page's, until it serves; with a client of it.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn connect(&self, values: &str) -> Result<Objects, Failure> {
        let secrets: Api<Secret> = Api::namespaced(self.host.client().clone(), TEAM);
        let secret = format!("vc-{NAME}");
        // An earlier virtual cluster's is of no use.
        if secrets.get_opt(&secret).await?.is_some() {
            secrets.delete(&secret, &kube::api::DeleteParams::default()).await?;
        }
        self.create(NAME, TEAM, values).await?;
        let deployment = named("apps/v1", "Deployment", TEAM, NAME);
        self.host
            .until("to be ready", &deployment, SOON, |object| {
                let Some(object) = object else { return Check::NotYet("it is not there".to_owned()) };
                let status = &object["status"];
                let is_current = status["observedGeneration"] == object["metadata"]["generation"];
                if is_current && status["readyReplicas"] == 1 && status["updatedReplicas"] == 1 {
                    return Check::Done(());
                }
                Check::NotYet(status.to_string())
            })
            .await?;
        let found = eventually(format!("Secret {secret}"), SOON, || async {
            match secrets.get_opt(&secret).await {
                Ok(Some(found)) => Check::Done(found),
                Ok(None) => Check::NotYet("it is not there".to_owned()),
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        let data = found.await?.data.unwrap_or_default().remove("config").unwrap_or_default();
        let kubeconfig = SecretString::from(String::from_utf8_lossy(&data.0).into_owned());
        client(&kubeconfig).await.map(Objects::new)
    }

    /// A line in the log of a virtual cluster's pod, of the container that ran before as well.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn until_logged(&self, (name, namespace): (&str, &str), needle: &str) -> Result<(), Failure> {
        let pods: Api<Pod> = Api::namespaced(self.host.client().clone(), namespace);
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/name={name}"));
        let found = eventually(format!("{needle:?} in the log of {name}"), SOON, || async {
            let mut last = "there is no pod".to_owned();
            for pod in pods.list(&labels).await.map(|list| list.items).unwrap_or_default() {
                for previous in [false, true] {
                    let parameters = LogParams { previous, ..LogParams::default() };
                    match pods.logs(&pod.name_any(), &parameters).await {
                        Ok(log) if log.contains(needle) => return Check::Done(()),
                        Ok(log) => last = log.lines().last().unwrap_or("the log is empty").to_owned(),
                        Err(error) => last = error.to_string(),
                    }
                }
            }
            Check::NotYet(last)
        });
        Ok(found.await?)
    }
}

async fn client(kubeconfig: &SecretString) -> Result<Client, Failure> {
    use secrecy::ExposeSecret as _;
    let read = Kubeconfig::from_yaml(kubeconfig.expose_secret())?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
