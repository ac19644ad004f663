//! What all variants of the adoption share: the clients, the Project, and the how-to's steps.

use plexlab_harness::clouds::Keeper;
use plexlab_harness::observe::requests;
use plexlab_harness::run::{Failure, Party, Run};
use plexlab_harness::stack::plan::agent_objects;
use plexlab_lab::{Check, Exchange, Fault, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clients::cluster::{AgentPod, Cluster, SOON, describe, soon_for};
use crate::clients::database::{AdoptedRow, Database, DatabaseError};
use crate::clients::keeper::{Customer, control};
use crate::clients::lab;
use crate::clients::plexsphere::{IssuedToken, Plexsphere};
use crate::elsewhere::{as_owner, create_project, http};
use crate::lifecycle::outage::answering_at;

/// The environment prefix of the how-to's first step.
pub const ENVIRONMENT: &str = "prod";

/// The entry's path as the how-to has it.
fn path() -> String {
    format!("plexsphere/{ENVIRONMENT}/bootstrap-token")
}

/// The two parties with their clients, and the Project that the cluster is adopted into.
pub struct Adoption<'r> {
    /// The run.
    pub run: &'r Run,
    /// The owner of the Project at plexsphere.
    pub owner: Party<'r>,
    /// The customer, who owns the cluster and the secret store.
    pub customer: Party<'r>,
    /// The control plane, with the owner's token.
    pub plexsphere: Plexsphere,
    /// The customer's secret store.
    pub store: Customer,
    /// The customer's cluster.
    pub cluster: Cluster,
    /// The owning Project.
    pub project: Uuid,
    http: reqwest::Client,
}

impl<'r> Adoption<'r> {
    /// Makes the clients and a Project.
    ///
    /// # Errors
    /// When the Project cannot be created.
    pub async fn prepare(run: &'r Run) -> Result<Self, Failure> {
        let stack = &run.stack;
        let http = http()?;
        let plexsphere = as_owner(run, http.clone());
        let store = Customer::of(stack, run.keeper, &http)?;
        let owner = run.party("owner");
        let create = async { Ok(create_project(run, &plexsphere, "adopted-clusters").await?) };
        let project = owner.step("create a Project", create).await?;
        Ok(Self {
            run,
            owner,
            customer: run.party("customer"),
            plexsphere,
            store,
            cluster: Cluster::new(stack.client.clone()),
            project,
            http,
        })
    }

    /// How-to, step 1.
    ///
    /// # Errors
    /// When the token is not issued.
    pub async fn issue_token(&self) -> Result<IssuedToken, Failure> {
        let issue = async { Ok(self.plexsphere.issue_token(self.project, "node").await?) };
        self.owner.step("issue a bootstrap token for the Project", issue).await
    }

    /// How-to, step 2.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn push_token(&self, token: &IssuedToken) -> Result<(), Failure> {
        let push = async { Ok(self.store.put_token(&path(), &token.plaintext).await?) };
        self.customer.step("push the token into the secret store", push).await
    }

    /// "Rotate or revoke the upstream secret once registration completes": takes the entry away.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn revoke_upstream(&self) -> Result<(), Failure> {
        let revoke = async { Ok(self.store.delete(&path()).await?) };
        self.customer.step("remove the entry from the secret store", revoke).await
    }

    /// Where the store's stand-in has its test controls.
    ///
    /// # Errors
    /// When the stack does not have the store.
    pub fn store_control(&self) -> Result<String, Failure> {
        control(&self.run.stack, self.run.keeper)
    }

    /// How-to, step 3. The printed key is right for Vault only, whose mount is called `secret`; at any other store the
    /// ExternalSecret as printed fails, and with the entry's own name in the place of the key it does not
    /// (contract: External Secrets, section 6).
    ///
    /// # Errors
    /// When the API server refuses, or the key as printed works where it must not.
    pub async fn apply_external_secret(&self) -> Result<(), Failure> {
        let store = self.run.keeper.store();
        let printed = self.cluster.apply_external_secret(store, ENVIRONMENT, None);
        self.customer.step("apply the ExternalSecret as the how-to prints it", printed).await?;
        if self.run.keeper == Keeper::Vault {
            return Ok(());
        }
        let fails = async { self.cluster.wait_external_secret("False").await.map(drop) };
        self.customer.step("see that the printed key is not this store's", fails).await?;
        let entry = self.store.entry(&path());
        let corrected = self.cluster.apply_external_secret(store, ENVIRONMENT, Some(&entry));
        self.customer.step(&format!("correct the key to {entry}"), corrected).await
    }

    /// How-to, step 4.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn install_agent(&self) -> Result<(), Failure> {
        self.install_agent_with(|_| {}).await
    }

    /// How-to, step 4, with a change of the agent's objects.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn install_agent_with(&self, edit: impl Fn(&mut Value)) -> Result<(), Failure> {
        let install = async {
            let mut objects = agent_objects(&self.run.stack.spec)?;
            objects.iter_mut().for_each(edit);
            self.cluster.apply(&objects).await
        };
        self.customer.step("install plexd", install).await?;
        let nodes = self.run.stack.spec.nodes;
        let scheduled = self.cluster.wait_scheduled(nodes);
        self.customer.step("see plexd roll out on every node", scheduled).await
    }

    /// The how-to's third verification: the Project's adopted Resources, by SQL; from the API, where the control plane
    /// runs elsewhere.
    ///
    /// # Errors
    /// When the database or the API does not answer.
    pub async fn adopted(&self) -> Result<Vec<AdoptedRow>, Failure> {
        match Database::of(&self.run.stack.addresses).await {
            Ok(database) => Ok(database.adopted(self.project).await?),
            Err(DatabaseError::Elsewhere) => self.adopted_by_api().await,
            Err(error) => Err(error.into()),
        }
    }

    async fn adopted_by_api(&self) -> Result<Vec<AdoptedRow>, Failure> {
        let all = self.plexsphere.resources(self.project).await?;
        let adopted = all.into_iter().filter(|resource| resource.origin.eq_ignore_ascii_case("adopted"));
        let rows = adopted.map(|resource| AdoptedRow {
            id: resource.id,
            kind: resource.kind,
            external_ref: resource.external_ref,
            origin: resource.origin,
        });
        Ok(rows.collect())
    }

    /// Waits until so many Resources are adopted. More of them are a failure at once: none ever goes.
    ///
    /// # Errors
    /// When there are more, or fewer in the end.
    pub async fn expect_adopted(&self, wanted: usize) -> Result<Vec<AdoptedRow>, Failure> {
        let count = async {
            let what = format!("{wanted} Resources with origin=Adopted");
            let rows = eventually(what.clone(), soon_for(wanted), || async {
                match self.adopted().await {
                    Ok(rows) if rows.len() >= wanted => Check::Done(rows),
                    Ok(rows) => Check::NotYet(format!("{} of them", rows.len())),
                    Err(failure) => Check::NotYet(failure.seen),
                }
            });
            let rows = rows.await?;
            if rows.len() == wanted { Ok(rows) } else { Err(Failure::expected(what, format!("{rows:?}"))) }
        };
        let asked = if self.run.stack.addresses.postgres.is_some() { "by SQL" } else { "at the API" };
        self.owner.step(&format!("find {wanted} adopted Resources {asked}"), count).await
    }

    /// Waits until the agents of the adopted nodes are ready, and returns them.
    ///
    /// # Errors
    /// When one is not in time.
    pub async fn adopted_agents(&self, rows: &[AdoptedRow]) -> Result<Vec<AgentPod>, Failure> {
        let nodes: Vec<&str> = rows.iter().filter_map(|row| row.external_ref.as_deref()).collect();
        let what = format!("ready agents on {}", nodes.join(", "));
        let ready = self.cluster.wait_agents(&what, SOON, |agents| {
            let on = |node: &&str| agents.iter().find(|agent| agent.node == **node && agent.ready).cloned();
            let found: Vec<AgentPod> = nodes.iter().filter_map(on).collect();
            if found.len() == rows.len() { Check::Done(found) } else { Check::NotYet(describe(agents)) }
        });
        self.customer.step("see the agents of the adopted nodes ready", ready).await
    }

    /// Checks whether a token is consumed.
    ///
    /// # Errors
    /// When it is not as wanted.
    pub async fn expect_consumed(&self, token: &IssuedToken, wanted: bool) -> Result<(), Failure> {
        let name = if wanted { "see consumed_at set" } else { "see the token unspent" };
        let check = async {
            let metadata = self.plexsphere.token(self.project, token.id).await?;
            if metadata.consumed_at.is_some() == wanted {
                return Ok(());
            }
            let expected = if wanted { "consumed_at to be set" } else { "no consumed_at" };
            Err(Failure::expected(expected, format!("{:?}", metadata.consumed_at)))
        };
        self.owner.step(name, check).await
    }

    /// The registrations that the control plane saw, in order.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub async fn registrations(&self) -> Result<Vec<Exchange>, Failure> {
        self.exchanges("/v1/register").await
    }

    /// What the control plane saw on a path, or on all paths that end so.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub async fn exchanges(&self, path: &str) -> Result<Vec<Exchange>, Failure> {
        let all = requests::read(&self.http, &self.run.stack.addresses.control_plane, 0).await?;
        Ok(all.into_iter().filter(|exchange| exchange.path.ends_with(path)).collect())
    }

    /// Posts to one of the control plane's own test routes.
    ///
    /// # Errors
    /// When it does not take it.
    pub async fn lab(&self, route: &str, body: Value) -> Result<Value, Failure> {
        Ok(lab::post(&self.http, &self.run.stack.addresses.control_plane, route, &body).await?)
    }

    /// Waits until the control plane answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn answering(&self) -> Result<(), Failure> {
        answering_at(&self.http, &self.run.stack.addresses.control_plane).await
    }

    /// Puts a fault into a stand-in; returns its id there.
    ///
    /// # Errors
    /// When the stand-in does not take it.
    pub async fn inject(&self, server: &str, fault: &Fault) -> Result<u64, Failure> {
        let answer = self.http.post(format!("{server}/__lab/faults")).json(fault).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        answer["id"]
            .as_u64()
            .ok_or_else(|| Failure::expected("the id of the fault", json!(answer).to_string()))
    }

    /// Takes a fault out of a stand-in.
    ///
    /// # Errors
    /// When it was not there.
    pub async fn lift(&self, server: &str, fault: u64) -> Result<(), Failure> {
        let answer = self.http.delete(format!("{server}/__lab/faults/{fault}")).send().await?;
        answer.error_for_status()?;
        Ok(())
    }
}
