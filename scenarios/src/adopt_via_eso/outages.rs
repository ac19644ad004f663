//! Parts of the customer's cluster go away in the middle of an adoption: the operator is killed before it writes the
//! Secret, and the API server is restarted while the agent comes up and while the operator is about to write again.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use plexlab_harness::run::{Failure, Run};
use plexlab_lab::gates::Held;
use plexlab_lab::{Check, eventually};
use serde::Deserialize;
use serde_json::json;

use crate::adopt_via_eso::adoption::Adoption;
use crate::clients::cluster::SOON;
use crate::lifecycle::outage;

/// Where the operator runs.
const NAMESPACE: &str = "external-secrets";
/// Its Deployment.
const APP: &str = "external-secrets";
/// Its port for probes and gates.
const PORT: u16 = 8082;
/// Its gate.
const BEFORE_WRITE: &str = "eso.before-write";

/// Runs the scenario.
///
/// # Errors
/// When something is lost by an outage, or done twice.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let adoption = Adoption::prepare(run).await?;
    let (customer, cluster, client) = (adoption.customer, &adoption.cluster, &run.stack.client);
    let operator = Operator { run, http: reqwest::Client::builder().no_proxy().build()? };

    let first = adoption.issue_token().await?;
    adoption.push_token(&first).await?;
    customer.step("hold the operator before it writes", operator.hold()).await?;
    adoption.apply_external_secret().await?;
    let held = customer.step("see it about to write the Secret", operator.held()).await?;
    customer.saw(format!("{} waits at {}", held.who, held.gate));
    let killed = outage::kill(client, NAMESPACE, APP);
    let killed = customer.step("kill the operator", killed).await?;
    let nothing = async {
        match cluster.materialised_token().await? {
            None => Ok(()),
            Some(_) => Err(Failure::expected("no Secret", "one")),
        }
    };
    customer.step("find nothing written", nothing).await?;
    let another = outage::another(client, NAMESPACE, APP, &killed);
    customer.step("see another operator ready", another).await?;
    let synced = cluster.wait_external_secret("True");
    customer.step("see the ExternalSecret become Ready", synced).await?;

    adoption.install_agent().await?;
    let restart = async { Ok(run.stack.restart_api_server().await?) };
    customer.step("restart the API server while the agents come up", restart).await?;
    let rows = adoption.expect_adopted(1).await?;
    adoption.adopted_agents(&rows).await?;
    adoption.expect_consumed(&first, true).await?;

    let second = adoption.issue_token().await?;
    adoption.push_token(&second).await?;
    customer.step("hold the operator again", operator.hold()).await?;
    customer.step("delete the spent Secret, so that it is made anew", cluster.delete_token_secret()).await?;
    let held = customer.step("see the operator about to write it", operator.held()).await?;
    let restart = async { Ok(run.stack.restart_api_server().await?) };
    customer.step("restart the API server under it", restart).await?;
    customer.step("let the operator go on", operator.release(&held)).await?;
    let rows = adoption.expect_adopted(2).await?;
    adoption.adopted_agents(&rows).await?;
    adoption.expect_consumed(&second, true).await?;
    let once = async {
        let seen = adoption.registrations().await?;
        match seen.iter().filter(|exchange| exchange.status == Some(201)).count() {
            2 => Ok(()),
            other => Err(Failure::expected("one 201 for each token", format!("{other} times 201"))),
        }
    };
    adoption.owner.step("find one 201 for each token among all registrations", once).await
}

/// The operator's gates, at whichever pod it is.
struct Operator<'r> {
    run: &'r Run,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Listed {
    waiting: Vec<Held>,
}

impl Operator<'_> {
    async fn gates(&self) -> Result<String, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.run.stack.client.clone(), NAMESPACE);
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/name={APP}"));
        let found = pods.list(&labels).await?.items.into_iter().find_map(|pod| {
            let running = pod.metadata.deletion_timestamp.is_none();
            pod.status.and_then(|status| status.pod_ip).filter(|_| running)
        });
        let ip = found.ok_or_else(|| Failure::expected("a pod of the operator", "none with an address"))?;
        Ok(format!("http://{ip}:{PORT}/__lab/gates"))
    }

    async fn hold(&self) -> Result<(), Failure> {
        let url = format!("{}/{BEFORE_WRITE}", self.gates().await?);
        self.http.put(url).json(&json!({"closed": true})).send().await?.error_for_status()?;
        Ok(())
    }

    async fn held(&self) -> Result<Held, Failure> {
        let gates = self.gates().await?;
        let held = eventually("the operator to come to its gate", SOON, || async {
            let listed = async { self.http.get(&gates).send().await?.json::<Listed>().await };
            match listed.await {
                Ok(listed) => match listed.waiting.into_iter().next() {
                    Some(held) => Check::Done(held),
                    None => Check::NotYet("nobody waits there".to_owned()),
                },
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        Ok(held.await?)
    }

    /// Lets it go, and opens the gate for whoever comes.
    async fn release(&self, held: &Held) -> Result<(), Failure> {
        let gates = self.gates().await?;
        let open = self.http.put(format!("{gates}/{}", held.gate)).json(&json!({"closed": false}));
        open.send().await?.error_for_status()?;
        Ok(())
    }
}
