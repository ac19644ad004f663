//! The reference's own DaemonSet, in its own names, and the agent's life as a pod.

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use super::audit::line;
use crate::plexd_kubernetes::agent::{Account, POD, Setup, configuration};
use crate::plexd_kubernetes::control_plane::{ControlPlane, TOKEN};
use crate::plexd_kubernetes::ground::{Ground, WITHIN};
use crate::plexd_kubernetes::hands::At;

const NAMESPACE: &str = "plexd-system";

/// The reference's objects that are not cluster-wide, with the configuration and the token of this run.
fn objects(ground: &Ground, plane: &ControlPlane) -> (Value, Value, Value) {
    let settings = json!({"namespace": NAMESPACE});
    // What is in the audit log is sent at the end only, or not at all.
    let more = json!({"registration": {"token_value": ""}, "audit": {"report_interval": "10m"}});
    let config = configuration(&plane.url, &settings, &more, ground.generations);
    let map = json!({"metadata": {"name": "plexd-config"}, "data": {"config.yaml": config}});
    let secret = json!({"metadata": {"name": "plexd-bootstrap"}, "stringData": {"token": TOKEN}});
    let mut all = ground.manifests.iter().flat_map(|(_, objects)| objects);
    let mut set = all.find(|object| object["kind"] == "DaemonSet").cloned().unwrap_or_default();
    let container = &mut set["spec"]["template"]["spec"]["containers"][0];
    container["image"] = json!(ground.image);
    container["imagePullPolicy"] = json!("IfNotPresent");
    if let Some(container) = container.as_object_mut() {
        // Liveness is judged by asking: an agent without these routes would be killed for it again and again.
        container.retain(|key, _| !key.ends_with("Probe"));
    }
    if let (Some(without), Some(env)) = (&ground.without, container["env"].as_array_mut()) {
        env.push(json!({"name": "PLEXLAB_PLEXD_WITHOUT", "value": without}));
    }
    (map, secret, set)
}

async fn pods(ground: &Ground) -> Result<Vec<Value>, Failure> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io%2Fname%3Dplexd");
    let list = ground.find(&path).await?.unwrap_or_default();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Waits for so many running agents that are none of `before`.
async fn running(ground: &Ground, count: usize, before: &[String]) -> Result<Vec<Value>, Failure> {
    let up = |pod: &Value| {
        pod["status"]["phase"] == "Running"
            && pod["metadata"]["deletionTimestamp"].is_null()
            && !before.contains(&text(&pod["metadata"]["uid"]))
    };
    let found = eventually(format!("{count} running pods"), WITHIN * 2, || async {
        match pods(ground).await {
            Ok(all) => {
                let up: Vec<Value> = all.iter().filter(|pod| up(pod)).cloned().collect();
                if up.len() == count {
                    Check::Done(up)
                } else {
                    Check::NotYet(format!("{} of {}", up.len(), all.len()))
                }
            }
            Err(failure) => Check::NotYet(failure.seen),
        }
    });
    Ok(found.await?)
}

/// Waits until so many heartbeats came after now, from every node.
async fn beating(plane: &ControlPlane, nodes: usize) -> Result<(), Failure> {
    let before = plane.seen().len();
    let found = eventually("a heartbeat of each node", WITHIN, || async {
        let seen = plane.seen();
        let mut beating: Vec<&str> = seen[before..]
            .iter()
            .filter(|seen| seen.route() == "heartbeat")
            .map(|seen| seen.path.as_str())
            .collect();
        beating.sort_unstable();
        beating.dedup();
        if beating.len() >= nodes {
            Check::Done(())
        } else {
            Check::NotYet(format!("{} of {nodes}", beating.len()))
        }
    });
    Ok(found.await?)
}

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let plane = ControlPlane::start(&ground.ways).await?;
    let nodes = ground.find("/api/v1/nodes").await?.unwrap_or_default();
    let count = nodes["items"].as_array().map_or(0, Vec::len);
    let (map, secret, set) = objects(ground, &plane);
    let core = format!("/api/v1/namespaces/{NAMESPACE}");
    ground.create(&format!("{core}/configmaps"), &map).await?;
    ground.create(&format!("{core}/secrets"), &secret).await?;
    let sets = format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets");
    ground.create(&sets, &set).await?;
    let first = running(ground, count, &[]).await;
    // Where they are is one thing, and whether they run another.
    let mut hosts: Vec<String> =
        pods(ground).await?.iter().map(|pod| text(&pod["spec"]["nodeName"])).collect();
    hosts.sort();
    hosts.dedup();
    if hosts.len() == count {
        ledger.pass("daemonset.every-node", hosts.join(", "));
    } else {
        ledger.fail(
            "daemonset.every-node",
            format!("{count} nodes"),
            format!("on: {}", hosts.join(", ")),
            "",
        );
    }
    let first = first?;
    let token = beating(&plane, count).await;
    match token {
        Ok(()) => {
            ledger.pass("variable.token", format!("{count} nodes registered with the variable's token"))
        }
        Err(failure) => {
            ledger.fail("variable.token", "nodes that registered", &failure.seen, "");
            return Err(failure);
        }
    }
    let pod = text(&first[0]["metadata"]["name"]);
    let script = "touch \"$(at /probe)\" 2>/dev/null && echo written || echo refused";
    let root = ground.script(At::Agent(NAMESPACE, &pod), script, "").await;
    judge(ground, "daemonset.read-only", "a root that cannot be written", root, |text| {
        text.trim() == "refused"
    });
    let script = "test -S \"$(at /var/run/plexd/api.sock)\" && echo there || echo missing";
    let socket = ground.script(At::Agent(NAMESPACE, &pod), script, "").await;
    judge(ground, "mount.socket", "/var/run/plexd/api.sock", socket, |text| text.trim() == "there");
    let live = ground.probe(NAMESPACE, &pod, "/healthz", 200).await;
    match live {
        Ok(body) => ledger.pass("daemonset.live", format!("200 {}", body.trim())),
        Err(failure) => ledger.fail("daemonset.live", "200", failure.seen, ""),
    }
    lives(ground, &plane, count, &first).await
}

fn judge(
    ground: &Ground,
    id: &'static str,
    expected: &str,
    outcome: Result<String, Failure>,
    right: impl Fn(&str) -> bool,
) {
    match outcome {
        Ok(text) if right(&text) => ground.ledger.pass(id, text.trim().to_owned()),
        Ok(text) => ground.ledger.fail(id, expected, text, ""),
        Err(failure) => ground.ledger.fail(id, expected, failure.seen, ""),
    }
}

/// A pod is replaced, then all are.
async fn lives(ground: &Ground, plane: &ControlPlane, count: usize, first: &[Value]) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let uids =
        |pods: &[Value]| -> Vec<String> { pods.iter().map(|pod| text(&pod["metadata"]["uid"])).collect() };
    let gone = &first[0];
    ground
        .delete(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{}", text(&gone["metadata"]["name"])))
        .await?;
    running(ground, 1, &uids(first)).await?;
    let registered = || plane.of("register").len();
    let known = plane.nodes().len();
    match beating(plane, count).await {
        Ok(()) if plane.nodes().len() == count => {
            ledger.pass("mount.identity", format!("{} registrations of {count} nodes", registered()));
        }
        Ok(()) => {
            let seen = format!("{known} nodes registered");
            ledger.fail("mount.identity", format!("{count} nodes, no more after a restart"), seen, "");
        }
        Err(failure) => ledger.fail("mount.identity", "the same node after a restart", failure.seen, ""),
    }
    evicted(ground, plane, count).await?;
    let before = pods(ground).await?;
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"rolled": "once"}}}}});
    ground.merge(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/plexd"), &patch).await?;
    running(ground, count, &uids(&before)).await?;
    match beating(plane, count).await {
        Ok(()) if plane.nodes().len() == count => {
            ledger.pass("daemonset.rolled", "all pods new, no node new")
        }
        Ok(()) => {
            let seen = format!("{} nodes", plane.nodes().len());
            ledger.fail("daemonset.rolled", format!("{count} nodes"), seen, "");
        }
        Err(failure) => ledger.fail("daemonset.rolled", "the same nodes", failure.seen, ""),
    }
    Ok(())
}

/// A node is cordoned and the agent's pod evicted, as `kubectl drain` does with pods that it takes away.
async fn evicted(ground: &Ground, plane: &ControlPlane, count: usize) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let all = pods(ground).await?;
    let Some(pod) = all.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null()) else {
        return Err(Failure::expected("a pod of the agent", "none"));
    };
    let (name, host) = (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]));
    let node = format!("/api/v1/nodes/{host}");
    let outcome = async {
        // As its API server would.
        let event = line("before-drain", json!({}));
        ground.script(At::NodeAudit(&host), "printf '%s' \"$1\" >> audit.log", &event).await?;
        ground.merge(&node, &json!({"spec": {"unschedulable": true}})).await?;
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                              "metadata": {"name": name, "namespace": NAMESPACE}});
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction");
        ground.create(&path, &eviction).await?;
        let uids: Vec<String> = all.iter().map(|pod| text(&pod["metadata"]["uid"])).collect();
        let fresh = running(ground, 1, &uids).await?;
        if text(&fresh[0]["spec"]["nodeName"]) != host {
            return Err(Failure::expected(
                format!("a pod on {host}"),
                fresh[0]["spec"]["nodeName"].to_string(),
            ));
        }
        beating(plane, count).await?;
        if plane.nodes().len() != count {
            let seen = format!("{} nodes", plane.nodes().len());
            return Err(Failure::expected(format!("{count} nodes"), seen));
        }
        if !plane.audit_events().iter().any(|event| event["action"] == "before-drain") {
            return Err(Failure::expected("the audit event that was pending", "it was not sent"));
        }
        Ok(format!("{name} evicted from {host}, its last event sent, no node new"))
    };
    let outcome = outcome.await;
    ground.merge(&node, &json!({"spec": {"unschedulable": null}})).await?;
    match outcome {
        Ok(text) => ledger.pass("daemonset.evicted", text),
        Err(failure) => {
            ledger.fail("daemonset.evicted", "the same node, and its last event", failure.seen, "")
        }
    }
    Ok(())
}

pub async fn pending(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let setup = Setup::new("k-pending", Account::Mounted);
    let agent = ground.agent(setup, |plane| plane.refuse("register", 503, "pool_exhausted")).await?;
    agent.placed().await?;
    let pending = ground.probe(agent.namespace, POD, "/readyz", 503).await;
    agent.plane.answer();
    let ready = ground.probe(agent.namespace, POD, "/readyz", 200).await;
    let evidence = agent.evidence().await;
    match (pending, ready) {
        (Ok(why), Ok(_)) => ledger.pass("daemonset.ready", format!("503 {}, then 200", why.trim())),
        (Err(failure), _) => {
            ledger.fail("daemonset.ready", "503 while registration is pending", failure.seen, &evidence);
        }
        (_, Err(failure)) => ledger.fail("daemonset.ready", "200 after it", failure.seen, &evidence),
    }
    Ok(())
}

pub async fn token_file(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let plane = ControlPlane::start(&ground.ways).await?;
    ground.namespace("k-file").await?;
    let secret = json!({"metadata": {"name": "token"}, "stringData": {"token": TOKEN}});
    ground.create("/api/v1/namespaces/k-file/secrets", &secret).await?;
    let file = "/etc/plexd-token/token";
    let mut setup = Setup::new("k-file", Account::Mounted)
        .more(json!({"registration": {"token_value": "", "token_file": file}}));
    setup.volumes.push((
        json!({"name": "token", "secret": {"secretName": "token", "defaultMode": 0o400}}),
        json!({"name": "token", "mountPath": "/etc/plexd-token", "readOnly": true}),
    ));
    let agent = ground.agent_in(setup, plane).await?;
    let registered = agent.registered().await;
    let warned = agent
        .logged("a warning about the token", |line| line.contains("level=WARN") && line.contains("token"));
    let outcome = match registered {
        Ok(_) => warned.await,
        Err(failure) => Err(failure),
    };
    let evidence = agent.evidence().await;
    match outcome {
        Ok(line) => ledger.pass("mount.config-read-only", line),
        Err(failure) => {
            ledger.fail("mount.config-read-only", "registered, with a warning", failure.seen, &evidence);
        }
    }
    Ok(())
}
