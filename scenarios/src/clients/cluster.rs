//! The cluster as an operator works with it: apply, wait, read logs, look at pods.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    Api, AttachParams, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use plexlab_harness::images::Component;
use plexlab_harness::run::Failure;
use plexlab_harness::stack::start::apply;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

/// The namespace that the how-to uses.
pub const NAMESPACE: &str = "plexsphere-system";
/// The name of the ExternalSecret and of the Secret that it makes.
pub const TOKEN_SECRET: &str = "plexd-bootstrap-token";
/// Selects the agent's pods.
const AGENT: &str = "app.kubernetes.io/name=plexd";
/// Limit for what a real cluster does within seconds.
pub const SOON: Duration = Duration::from_secs(60);

/// The same for so many nodes, whose agents one machine starts one after the other.
pub fn soon_for(nodes: usize) -> Duration {
    SOON + Duration::from_secs(nodes as u64)
}

/// A pod of the DaemonSet, in the words that the scenarios use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPod {
    /// Pod name.
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// Whether it is ready.
    pub ready: bool,
    /// How often its container was restarted.
    pub restarts: i32,
    /// Why its container waits, for example `CrashLoopBackOff`.
    pub waiting: Option<String>,
}

/// A client of the stack's cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// With the stack's admin client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Applies the how-to's ExternalSecret: as printed there, with its two placeholders filled in, and with another key
    /// if one is given.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply_external_secret(
        &self,
        store: &str,
        environment: &str,
        key: Option<&str>,
    ) -> Result<(), Failure> {
        let manifest = include_str!("../adopt_via_eso/external-secret.yaml")
            .replace("<your-cluster-secret-store>", store)
            .replace("<env-prefix>", environment);
        let mut object: Value = serde_norway::from_str(&manifest)?;
        if let (Some(key), Some(printed)) = (key, object.pointer_mut("/spec/data/0/remoteRef/key")) {
            *printed = key.into();
        }
        Ok(apply(&self.client, &[object]).await?)
    }

    /// Applies objects.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn apply(&self, objects: &[Value]) -> Result<(), Failure> {
        Ok(apply(&self.client, objects).await?)
    }

    fn external_secrets(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("external-secrets.io", "v1", "ExternalSecret");
        Api::namespaced_with(self.client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind))
    }

    /// Status, reason and message of the ExternalSecret's Ready condition; none while it has no such condition.
    ///
    /// # Errors
    /// When the ExternalSecret cannot be read.
    pub async fn ready_condition(&self) -> Result<Option<ReadyCondition>, Failure> {
        let object = self.external_secrets().get(TOKEN_SECRET).await?;
        let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array).cloned();
        let ready = conditions.unwrap_or_default().into_iter().find(|condition| condition["type"] == "Ready");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(ready.map(|ready| ReadyCondition {
            status: text(&ready["status"]),
            reason: text(&ready["reason"]),
            message: text(&ready["message"]),
        }))
    }

    /// Waits for a Ready condition of this status (`True` or `False`).
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn wait_external_secret(&self, status: &str) -> Result<ReadyCondition, Failure> {
        let what = format!("ExternalSecret {TOKEN_SECRET} to have Ready={status}");
        let found = eventually(what, SOON, || async {
            match self.ready_condition().await {
                Ok(Some(ready)) if ready.status == status => Check::Done(ready),
                Ok(Some(ready)) => Check::NotYet(format!("{ready:?}")),
                Ok(None) => Check::NotYet("no Ready condition".into()),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }

    /// Sets an annotation of the ExternalSecret, as `kubectl annotate --overwrite` does.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn annotate_external_secret(&self, key: &str, value: &str) -> Result<(), Failure> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        self.external_secrets().patch(TOKEN_SECRET, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The token that the Secret holds; none when there is no Secret.
    ///
    /// # Errors
    /// When the Secret cannot be read.
    pub async fn materialised_token(&self) -> Result<Option<String>, Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let secret = api.get_opt(TOKEN_SECRET).await?;
        let bytes = secret.and_then(|secret| secret.data?.remove("token"));
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()))
    }

    /// Deletes the Secret, which makes the operator read the store again.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_token_secret(&self) -> Result<(), Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.delete(TOKEN_SECRET, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The names of the cluster's nodes.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn node_names(&self) -> Result<Vec<String>, Failure> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        Ok(nodes.list(&ListParams::default()).await?.items.iter().map(|node| node.name_any()).collect())
    }

    /// Waits until the DaemonSet has put a pod on each of so many nodes.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_scheduled(&self, nodes: u32) -> Result<(), Failure> {
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let what = format!("DaemonSet plexd to have a pod on each of {nodes} nodes");
        let found = eventually(what, SOON, || async {
            match api.get("plexd").await {
                Ok(set) => {
                    let status = set.status.unwrap_or_default();
                    let (desired, current) =
                        (status.desired_number_scheduled, status.current_number_scheduled);
                    if i64::from(desired) == i64::from(nodes) && current == desired {
                        Check::Done(())
                    } else {
                        Check::NotYet(format!("{current}/{desired} scheduled"))
                    }
                }
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        Ok(found.await?)
    }

    /// The agent's pods, by name.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn agents(&self) -> Result<Vec<AgentPod>, Failure> {
        let selector = ListParams::default().labels(AGENT);
        let pods = self.pods().list(&selector).await?;
        let mut agents: Vec<AgentPod> = pods.items.iter().map(agent).collect();
        agents.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(agents)
    }

    /// Polls the agents until `judge` is content, which otherwise says why not.
    ///
    /// # Errors
    /// When it is not content in time.
    pub async fn wait_agents<T>(
        &self,
        what: &str,
        within: Duration,
        judge: impl Fn(&[AgentPod]) -> Check<T>,
    ) -> Result<T, Failure> {
        let found = eventually(what, within, || async {
            match self.agents().await {
                Ok(agents) => judge(&agents),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }

    /// Waits until each of so many agents was seen once as `judge` wants it; a watch, so that no passing state
    /// is missed and hundreds of agents are not listed again and again. Gives them by name.
    ///
    /// # Errors
    /// When they were not in time; says which were not.
    pub async fn wait_each_agent(
        &self,
        what: &str,
        within: Duration,
        wanted: usize,
        judge: impl Fn(&AgentPod) -> bool,
    ) -> Result<Vec<AgentPod>, Failure> {
        let config = watcher::Config::default().labels(AGENT);
        let mut changes = pin!(watcher::watcher(self.pods(), config).default_backoff());
        let (mut seen, mut latest) = (BTreeMap::new(), BTreeMap::new());
        let watching = async {
            while seen.len() < wanted {
                let pod = match changes.try_next().await {
                    Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => agent(&pod),
                    Ok(Some(watcher::Event::Delete(pod))) => {
                        latest.remove(&pod.name_any());
                        continue;
                    }
                    // The watcher goes on after an error.
                    Ok(Some(watcher::Event::Init | watcher::Event::InitDone)) | Err(_) => continue,
                    Ok(None) => return,
                };
                if judge(&pod) {
                    seen.insert(pod.name.clone(), pod.clone());
                }
                latest.insert(pod.name.clone(), pod);
            }
        };
        let _ = tokio::time::timeout(within, watching).await;
        if seen.len() >= wanted {
            return Ok(seen.into_values().collect());
        }
        let missing: Vec<AgentPod> =
            latest.into_values().filter(|agent| !seen.contains_key(&agent.name)).collect();
        let named: Vec<&str> = missing.iter().take(5).map(|agent| agent.name.as_str()).collect();
        Err(Failure::expected(
            format!("{what} within {} s", within.as_secs()),
            format!(
                "{} of {wanted}; of the others (such as {}) {}",
                seen.len(),
                named.join(", "),
                describe(&missing)
            ),
        ))
    }

    /// Waits until so many agents are ready.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn wait_ready_agents(&self, wanted: usize) -> Result<Vec<AgentPod>, Failure> {
        self.wait_agents(&format!("{wanted} ready agents"), soon_for(wanted), |agents| {
            let ready: Vec<_> = agents.iter().filter(|agent| agent.ready).cloned().collect();
            if ready.len() == wanted { Check::Done(ready) } else { Check::NotYet(describe(agents)) }
        })
        .await
    }

    /// Waits until an agent's log holds `needle`, reading the log of its current and of its previous container.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_log(&self, pod: &str, needle: &str) -> Result<String, Failure> {
        self.wait_line(pod, &format!("with `{needle}`"), |line| line.contains(needle)).await
    }

    /// Waits until an agent's log holds a line that `wanted` takes; as [`Cluster::wait_log`].
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_line(
        &self,
        pod: &str,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, Failure> {
        let what = format!("a line {what} in the log of pod {pod}");
        let found = eventually(what, SOON, || async {
            let mut last = "the log is empty".to_owned();
            for previous in [false, true] {
                let parameters = LogParams { previous, ..LogParams::default() };
                match self.pods().logs(pod, &parameters).await {
                    Ok(log) => {
                        if let Some(line) = log.lines().find(|line| wanted(line)) {
                            return Check::Done(line.to_owned());
                        }
                        if let Some(line) = log.lines().last() {
                            last = format!("last line: {line}");
                        }
                    }
                    Err(error) if !previous => last = error.to_string(),
                    Err(_) => {}
                }
            }
            Check::NotYet(last)
        });
        Ok(found.await?)
    }

    /// What an agent has logged since its container started; empty before that.
    pub async fn log(&self, pod: &str) -> String {
        self.pods().logs(pod, &LogParams::default()).await.unwrap_or_default()
    }

    /// Follows a pod's log until a line holds `needle`, as `kubectl logs -f | grep` does.
    ///
    /// # Errors
    /// When the stream ends, or no such line comes in time.
    pub async fn follow_log(&self, pod: &str, needle: &str) -> Result<String, Failure> {
        let parameters = LogParams { follow: true, ..LogParams::default() };
        let follow = async {
            let mut lines = self.pods().log_stream(pod, &parameters).await?.lines();
            while let Some(line) = lines.try_next().await? {
                if line.contains(needle) {
                    return Ok(line);
                }
            }
            Err(Failure::expected(format!("a line with `{needle}`"), "the log ended"))
        };
        match tokio::time::timeout(SOON, follow).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::expected(format!("a line with `{needle}` within {SOON:?}"), "none")),
        }
    }

    /// Runs the agent's program once more beside a running agent, on its node and with its volumes, as somebody on that
    /// node would: the exit code, and what it printed.
    ///
    /// # Errors
    /// When it cannot be run, or does not end.
    pub async fn run_beside(&self, agent: &str, arguments: &[&str]) -> Result<(i32, String), Failure> {
        let words = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.beside(agent, &arguments.join(" "), |container| container.args = Some(words)).await
    }

    /// Runs a script on an agent's node, with its volumes at the same places; what it printed. The agent's own image may
    /// have no shell, and the database's has one.
    ///
    /// # Errors
    /// When it cannot be run, or does not end well.
    pub async fn on_its_node(&self, agent: &str, script: &str) -> Result<String, Failure> {
        let (code, said) = self
            .beside(agent, script, |container| {
                container.image = Some(Component::Postgres.image().to_owned());
                container.command = Some(["sh", "-c", script].map(str::to_owned).into());
                container.args = None;
            })
            .await?;
        match code {
            0 => Ok(said),
            _ => Err(Failure::error(
                format!("run `{script}` beside {agent}"),
                format!("exit code {code}: {said}"),
            )),
        }
    }

    /// Runs a pod like an agent's, but for what `change` changes, to its end: the exit code, and what it printed.
    async fn beside(
        &self,
        agent: &str,
        what: &str,
        change: impl FnOnce(&mut Container),
    ) -> Result<(i32, String), Failure> {
        let mut pod = self.pods().get(agent).await?;
        let name = Some(format!("{agent}-beside-"));
        pod.metadata = ObjectMeta { generate_name: name, ..ObjectMeta::default() };
        pod.status = None;
        if let Some(spec) = &mut pod.spec {
            spec.restart_policy = Some("Never".into());
            if let Some(container) = spec.containers.first_mut() {
                container.readiness_probe = None;
                container.liveness_probe = None;
                container.ports = None;
                change(container);
            }
        }
        let name = self.pods().create(&PostParams::default(), &pod).await?.name_any();
        let ended = eventually(format!("the end of `{what}`"), SOON, || async {
            let status = match self.pods().get(&name).await {
                Ok(pod) => pod.status.unwrap_or_default(),
                Err(error) => return Check::NotYet(error.to_string()),
            };
            let containers = status.container_statuses.unwrap_or_default();
            match containers.iter().find_map(|container| container.state.as_ref()?.terminated.as_ref()) {
                Some(terminated) => Check::Done(terminated.exit_code),
                None => Check::NotYet(status.phase.unwrap_or_default()),
            }
        });
        let code = ended.await?;
        let said = self.log(&name).await;
        self.delete_pod(&name).await?;
        Ok((code, said))
    }

    /// Deletes all pods of the agent at once, as a reboot of every node would end them.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_agents(&self) -> Result<(), Failure> {
        let all = ListParams::default().labels(AGENT);
        self.pods().delete_collection(&DeleteParams::default(), &all).await?;
        Ok(())
    }

    /// Deletes a pod, as `kubectl delete pod` does.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_pod(&self, name: &str) -> Result<(), Failure> {
        self.pods().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

/// Runs a program in a container; what it printed.
///
/// # Errors
/// When it cannot be run, or does not end well.
pub async fn exec(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: &str,
    command: &[&str],
) -> Result<String, Failure> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let how = AttachParams::default().container(container).stdout(true).stderr(false);
    let mut process = pods.exec(pod, command.iter().copied(), &how).await?;
    let mut text = String::new();
    if let Some(mut stdout) = process.stdout() {
        stdout.read_to_string(&mut text).await?;
    }
    let status = match process.take_status() {
        Some(status) => status.await,
        None => None,
    };
    let _ = process.join().await;
    match status.and_then(|status| status.status) {
        Some(status) if status == "Success" => Ok(text),
        _ => Err(Failure::error(format!("run {command:?} in {namespace}/{pod}"), text)),
    }
}

/// The ExternalSecret's Ready condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyCondition {
    /// `True` or `False`.
    pub status: String,
    /// For example `SecretSynced`.
    pub reason: String,
    /// For people.
    pub message: String,
}

fn agent(pod: &Pod) -> AgentPod {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    let waiting =
        container.as_ref().and_then(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    AgentPod {
        name: pod.name_any(),
        node: pod.spec.clone().unwrap_or_default().node_name.unwrap_or_default(),
        ready: container.as_ref().is_some_and(|container| container.ready),
        restarts: container.map_or(0, |container| container.restart_count),
        waiting,
    }
}

/// The agents in one line, for the reason why a wait goes on.
pub fn describe(agents: &[AgentPod]) -> String {
    let ready = agents.iter().filter(|agent| agent.ready).count();
    let mut waiting: Vec<String> =
        agents.iter().filter_map(|agent| agent.waiting.clone()).collect::<Vec<_>>();
    waiting.sort();
    waiting.dedup();
    format!("{ready} of {} agents ready; waiting: {}", agents.len(), waiting.join(", "))
}
