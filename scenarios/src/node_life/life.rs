//! An adopted node, and both sides of it.

use std::collections::BTreeSet;
use std::time::Duration;

use plexlab_harness::agents::{Generation, configuration, merge};
use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, Exchange, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use super::words;
use crate::adopt_via_eso::adoption::Adoption;
use crate::clients::cluster::{AgentPod, SOON};
use crate::clients::database::{Database, NodeRow};
use crate::clients::plexsphere::IssuedToken;

/// A node that was adopted.
pub struct Life<'r> {
    /// The parties and their clients.
    pub adoption: Adoption<'r>,
    /// Its Resource.
    pub resource: Uuid,
    /// Its Node.
    pub node: Uuid,
    /// Its agent's pod.
    pub pod: String,
}

/// Puts settings, in the newer documents' spelling, into the agent's configuration, which may be in another.
pub fn set(object: &mut Value, settings: &Value) {
    let Some(Value::String(file)) = object.pointer_mut("/data/config.yaml") else { return };
    let Ok(mut whole) = serde_norway::from_str::<Value>(file) else { return };
    merge(&mut whole, &configuration(settings, &Generation::ALL));
    *file = serde_norway::to_string(&whole).unwrap_or_default();
}

/// Changes the agent's objects so that it beats often and tells of each event, and that only events make it pull.
pub fn eager(object: &mut Value) {
    set(
        object,
        &json!({
            "heartbeat": {"interval": "300ms"},
            "reconcile": {"interval": "10m"},
            "registration": {"retry_interval": "300ms", "retry_max_interval": "1s"},
        }),
    );
    let arguments = object.pointer_mut("/spec/template/spec/containers/0/args").and_then(Value::as_array_mut);
    if let Some(arguments) = arguments {
        arguments.extend([json!("--log-level"), json!("debug")]);
    }
}

/// Offers the agent a token, by way of the customer's store.
///
/// # Errors
/// When a step fails.
pub async fn offer(adoption: &Adoption<'_>) -> Result<IssuedToken, Failure> {
    let token = adoption.issue_token().await?;
    adoption.push_token(&token).await?;
    adoption.apply_external_secret().await?;
    Ok(token)
}

impl<'r> Life<'r> {
    /// Adopts the stack's node.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn begin(run: &'r Run) -> Result<Self, Failure> {
        Self::begin_after(run, async |_| Ok(())).await
    }

    /// The same; something is done before the agent is installed.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn begin_after(
        run: &'r Run,
        before: impl AsyncFnOnce(&Adoption<'r>) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let adoption = Adoption::prepare(run).await?;
        offer(&adoption).await?;
        before(&adoption).await?;
        adoption.install_agent_with(eager).await?;
        Self::adopted(adoption).await
    }

    /// Waits until the node is adopted and its agent runs.
    ///
    /// # Errors
    /// When that does not come.
    pub async fn adopted(adoption: Adoption<'r>) -> Result<Self, Failure> {
        let rows = adoption.expect_adopted(1).await?;
        let pod = adoption.adopted_agents(&rows).await?.remove(0).name;
        let resource = rows[0].id;
        let nodes = nodes(&adoption, resource).await?;
        let node = nodes.last().ok_or_else(|| Failure::expected("a Node of the Resource", "none"))?.id;
        let life = Self { adoption, resource, node, pod };
        life.owner_sees("healthy").await?;
        Ok(life)
    }

    /// The Nodes that its Resource has or had.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, Failure> {
        nodes(&self.adoption, self.resource).await
    }

    /// What the control plane saw of the node on one of its routes.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub async fn exchanges(&self, route: &str) -> Result<Vec<Exchange>, Failure> {
        self.adoption.exchanges(&format!("/v1/nodes/{}/{route}", self.node)).await
    }

    /// Waits until so many more heartbeats of the node were answered with `status` than at the call.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn beats(&self, status: u16, more: usize) -> Result<(), Failure> {
        let count = async || {
            let beats = self.exchanges("heartbeat").await?;
            Ok::<_, Failure>(beats.iter().filter(|beat| beat.status == Some(status)).count())
        };
        let before = count().await?;
        let what = format!("{more} more heartbeats answered with {status}");
        let found = eventually(what, SOON, || async {
            match count().await {
                Ok(now) if now >= before + more => Check::Done(()),
                Ok(now) => Check::NotYet(format!("{} of them", now - before)),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }

    /// Waits until the owner is told this of whether the Node is heard of.
    ///
    /// # Errors
    /// When it is not.
    pub async fn owner_sees(&self, wanted: &str) -> Result<(), Failure> {
        let wait = async {
            let found = eventually(format!("the Node to be {wanted}"), SOON, || async {
                match self.adoption.plexsphere.reachability(self.node).await {
                    Ok(state) if state == wanted => Check::Done(()),
                    Ok(state) => Check::NotYet(state),
                    Err(error) => Check::NotYet(error.to_string()),
                }
            });
            Ok(found.await?)
        };
        self.adoption.owner.step(&format!("see the Node {wanted}"), wait).await
    }

    /// The pod that was there runs still, with its first container; and no other Node came. (A Node that was deleted
    /// with its Resource has no row.)
    ///
    /// # Errors
    /// When it is otherwise.
    pub async fn same_pod_and_node(&self) -> Result<(), Failure> {
        let agents = self.adoption.cluster.agents().await?;
        let same = |agent: &AgentPod| agent.name == self.pod && agent.restarts == 0;
        if agents.len() != 1 || !agents.iter().all(same) {
            return Err(Failure::expected("the same pod, never restarted", format!("{agents:?}")));
        }
        let registered: BTreeSet<_> = self.nodes().await?.into_iter().map(|row| row.id).collect();
        if !registered.is_subset(&BTreeSet::from([self.node])) {
            return Err(Failure::expected(format!("no Node but {}", self.node), format!("{registered:?}")));
        }
        Ok(())
    }

    /// Sends the node an event with this revision; the id that its stream gives it.
    ///
    /// # Errors
    /// When the control plane does not take it.
    pub async fn send(&self, revision: u32) -> Result<String, Failure> {
        let event =
            json!({"node_id": self.node, "type": "policy_updated", "payload": {"revision": revision}});
        let sent = self.adoption.lab("events", event).await?;
        Ok(sent["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the agent has said that it took the event.
    ///
    /// # Errors
    /// When it does not.
    pub async fn taken(&self, event: &str) -> Result<(), Failure> {
        let what = format!("that takes event {event}");
        self.adoption.cluster.wait_line(&self.pod, &what, |line| words::takes(line, event)).await?;
        Ok(())
    }

    /// How often the agent has said that it took the event.
    pub async fn times_taken(&self, event: &str) -> usize {
        let log = self.adoption.cluster.log(&self.pod).await;
        log.lines().filter(|line| words::takes(line, event)).count()
    }

    /// Waits until so many streams of the node are or were open.
    ///
    /// # Errors
    /// When they are not.
    pub async fn streams(&self, wanted: usize) -> Result<(), Failure> {
        let found = eventually(format!("{wanted} event streams opened"), SOON, || async {
            match self.exchanges("events").await {
                Ok(all) if all.iter().filter(|one| one.status == Some(200)).count() >= wanted => {
                    Check::Done(())
                }
                Ok(all) => Check::NotYet(format!("{} requests", all.len())),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }

    /// The way out for an agent whose identity is worth nothing: the identity goes, a fresh token comes, the pod is
    /// made anew. Gives the node's new life.
    ///
    /// # Errors
    /// When the node is not adopted again.
    pub async fn readmit(self) -> Result<Self, Failure> {
        let Self { adoption, node: former, pod, .. } = self;
        let customer = adoption.customer;
        // First of all: an agent that asks on may take the fresh token itself, and keeps the identity that it gets for it.
        let purge = async {
            let script = "rm -f /var/lib/plexd/identity.json && ls /var/lib/plexd";
            adoption.cluster.on_its_node(&pod, script).await.map(drop)
        };
        customer.step("take the identity off the node", purge).await?;
        let fresh = adoption.issue_token().await?;
        adoption.push_token(&fresh).await?;
        customer
            .step("delete the spent Secret, so that it is made anew", adoption.cluster.delete_token_secret())
            .await?;
        customer.step("delete the agent's pod", adoption.cluster.delete_pod(&pod)).await?;
        let another = adoption.cluster.wait_agents("another pod of the agent", SOON, |agents| {
            match agents.iter().find(|agent| agent.name != pod && agent.ready) {
                Some(agent) => Check::Done(agent.name.clone()),
                None => Check::NotYet(crate::clients::cluster::describe(agents)),
            }
        });
        customer.step("see another pod become ready", another).await?;
        adoption.expect_consumed(&fresh, true).await?;
        let life = Self::adopted(adoption).await?;
        if life.node == former {
            return Err(Failure::expected("a Node of its own", "the former Node"));
        }
        life.adoption.owner.saw(format!("Node {} in the place of {former}", life.node));
        Ok(life)
    }
}

async fn nodes(adoption: &Adoption<'_>, resource: Uuid) -> Result<Vec<NodeRow>, Failure> {
    let database = Database::of(&adoption.run.stack.addresses).await?;
    Ok(database.nodes_of(resource).await?)
}

/// How long something is looked at that must not change.
pub const MEANWHILE: Duration = Duration::from_millis(700);
