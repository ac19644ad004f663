//! Somebody with a shell on the agent's node: writes its API server's audit log, and looks at what the agent's container is
//! like inside.
//!
//! Where pods are processes of this machine, every container has the machine's programs, and the shell is started in it.
//! An image has what its maker put there, which may be the agent and nothing else. So on nodes that are containers a pod of
//! each node has the node's own programs, and sees the agent from outside: by its process, and by its volumes.

use std::collections::BTreeSet;

use plexlab_harness::oci::archive::PROGRAM;
use plexlab_harness::relay;
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::ground::{Ground, WITHIN};

/// The image that has the machine's own programs where pods are processes of it.
pub const HOST_IMAGE: &str = "busybox";
/// Where the API server of a node writes its audit log.
pub const AUDIT: &str = "/var/log/kubernetes/audit";
/// Prints the file of the agent's container that `$1` names.
pub const READ: &str = "cat \"$(at \"$1\")\"";
/// The namespace of the pods that see agents from outside.
const NAMESPACE: &str = "k-hands";
/// Where such a pod has its node's files.
const NODE: &str = "/node";

/// Where the shell is.
#[derive(Debug)]
pub enum Hands {
    /// In the container itself.
    Inside,
    /// In a pod of each node; these nodes have theirs already.
    OnNodes(Mutex<BTreeSet<String>>),
}

/// What a script is about.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// The agent's container of a pod. `$AGENT` is its process, `$STATUSES` the status files of all its processes, `at PATH`
    /// where a path of its is, `variable NAME` the value of a variable of its environment.
    Agent(&'a str, &'a str),
    /// The directory of audit logs of a pod that has one to itself: the script is run in it.
    Audit(&'a str, &'a str),
    /// The directory of audit logs of a node.
    NodeAudit(&'a str),
}

/// What a Job can run: an image, a command that succeeds, and one that fails.
#[derive(Debug, Clone, Copy)]
pub struct JobPrograms {
    /// The image.
    pub image: &'static str,
    /// Ends with 0.
    pub succeeds: &'static [&'static str],
    /// Ends with something else.
    pub fails: &'static [&'static str],
}

impl Hands {
    /// In pods of nodes that have none yet.
    pub fn on_nodes() -> Self {
        Self::OnNodes(Mutex::default())
    }

    /// The container from which the audit log of an agent's pod is written, if that is done from within the pod.
    pub fn writer(&self) -> Option<Value> {
        match self {
            Hands::Inside => Some(json!({
                "name": "writer", "image": HOST_IMAGE, "command": ["sleep", "3600"],
                "volumeMounts": [{"name": "audit", "mountPath": AUDIT}],
            })),
            Hands::OnNodes(_) => None,
        }
    }

    /// What Jobs can run.
    pub fn job_programs(&self) -> JobPrograms {
        match self {
            Hands::Inside => JobPrograms {
                image: HOST_IMAGE,
                succeeds: &["sh", "-c", "test \"$PLEXD_PARAM_BUCKET\" != x"],
                fails: &["sh", "-c", "exit 3"],
            },
            // Every node has the relay's image, which is the stand-ins' program.
            Hands::OnNodes(_) => JobPrograms {
                image: relay::IMAGE,
                succeeds: &[PROGRAM, "--list"],
                fails: &[PROGRAM, "no-such-stand-in"],
            },
        }
    }
}

/// In the agent's container, the first process may be one that only starts the agent.
const INSIDE: &str = r#"AGENT=1; STATUSES="/proc/[0-9]*/status"
at() { echo "$1"; }
variable() { printenv "$1"; }
"#;

/// From the node. The container's id is in the names of its control groups. What the runtime mounted below /var/run may be
/// below /run, when the image's /var/run is a link; seen from here that would lead to another root.
const OUTSIDE: &str = r#"AGENT=$(grep -l "$ID" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3 | sort -n | head -n 1)
test -n "$AGENT" || { echo "no process of container $ID" >&2; exit 1; }
STATUSES=/proc/$AGENT/status
at() { for path in "/proc/$AGENT/root$1" "/proc/$AGENT/root${1#/var}"; do test -e "$path" && break; done; echo "$path"; }
variable() { tr '\0' '\n' <"/proc/$AGENT/environ" | sed -n "s/^$1=//p"; }
"#;

impl Ground {
    /// Runs a script for a shell; `$1` is `argument`. What it printed.
    ///
    /// # Errors
    /// When it cannot be run, or does not end well.
    pub async fn script(&self, at: At<'_>, script: &str, argument: &str) -> Result<String, Failure> {
        let run = async |namespace: &str, pod: &str, container: &str, script: String| {
            self.exec(namespace, pod, container, &["sh", "-c", &script, "sh", argument]).await
        };
        match (&self.hands, at) {
            (Hands::Inside, At::Agent(namespace, pod)) => {
                run(namespace, pod, "plexd", format!("{INSIDE}{script}")).await
            }
            (Hands::Inside, At::Audit(namespace, pod)) => {
                run(namespace, pod, "writer", format!("cd {AUDIT} && {script}")).await
            }
            (Hands::Inside, At::NodeAudit(node)) => self.writer_on(node, script, argument).await,
            (Hands::OnNodes(made), At::Agent(namespace, pod)) => {
                let pod = self.pod_of(namespace, pod).await?;
                let hands = self.hands_on(text(&pod["spec"]["nodeName"]), made).await?;
                let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
                let id =
                    statuses.filter(|status| status["name"] == "plexd").map(|one| text(&one["containerID"]));
                let id = id.filter_map(|id| id.split_once("://")).map(|(_, id)| id).next();
                let id = id.ok_or_else(|| Failure::expected("a container that was started", "none"))?;
                run(NAMESPACE, &hands, "hands", format!("ID={id}\n{OUTSIDE}{script}")).await
            }
            (Hands::OnNodes(made), At::Audit(namespace, pod)) => {
                let pod = self.pod_of(namespace, pod).await?;
                let hands = self.hands_on(text(&pod["spec"]["nodeName"]), made).await?;
                let uid = text(&pod["metadata"]["uid"]);
                let volumes = format!("{NODE}/var/lib/kubelet/pods/{uid}/volumes");
                let script = format!("cd {volumes}/kubernetes.io~empty-dir/audit && {script}");
                run(NAMESPACE, &hands, "hands", script).await
            }
            (Hands::OnNodes(made), At::NodeAudit(node)) => {
                let hands = self.hands_on(node, made).await?;
                let script = format!("mkdir -p {NODE}{AUDIT} && cd {NODE}{AUDIT} && {script}");
                run(NAMESPACE, &hands, "hands", script).await
            }
        }
    }

    async fn pod_of(&self, namespace: &str, name: &str) -> Result<Value, Failure> {
        let found = self.find(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await?;
        found.ok_or_else(|| Failure::expected(format!("the pod {namespace}/{name}"), "none"))
    }

    /// Runs a script in the directory of a node's audit logs by a pod that does nothing else.
    async fn writer_on(&self, node: &str, script: &str, argument: &str) -> Result<String, Failure> {
        let pod = json!({
            "metadata": {"generateName": "audit-writer-"},
            "spec": {
                "nodeName": node, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "writer", "image": HOST_IMAGE,
                    "command": ["sh", "-c", format!("cd {AUDIT} && {script}"), "sh", argument],
                    "volumeMounts": [{"name": "audit", "mountPath": AUDIT}]}],
                "volumes": [{"name": "audit", "hostPath": {"path": AUDIT, "type": "DirectoryOrCreate"}}],
            },
        });
        let pods = "/api/v1/namespaces/default/pods";
        let made = self.create(pods, &pod).await?;
        let ended = |pod: &Value| pod["status"]["phase"] == "Succeeded";
        let path = format!("{pods}/{}", text(&made["metadata"]["name"]));
        self.until("the audit log's writer", &path, ended).await?;
        Ok(String::new())
    }

    /// The pod of a node that has its programs, made when it is needed first.
    async fn hands_on(&self, node: &str, made: &Mutex<BTreeSet<String>>) -> Result<String, Failure> {
        let name = format!("hands-{node}");
        let mut made = made.lock().await;
        if made.is_empty() {
            self.create("/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}})).await?;
        }
        if !made.contains(node) {
            let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
            let manifest = manifest(&name, node);
            // A fresh namespace has no service account for a moment.
            eventually("a pod with the node's programs", WITHIN, || async {
                match self.create(&pods, &manifest).await {
                    Ok(_) => Check::Done(()),
                    Err(failure) => Check::NotYet(failure.seen),
                }
            })
            .await?;
            let runs = |pod: &Value| pod["status"]["phase"] == "Running";
            self.until("a pod with the node's programs to run", &format!("{pods}/{name}"), runs).await?;
            made.insert(node.to_owned());
        }
        Ok(name)
    }
}

/// A pod that has a node's programs and sees its processes and files. Its image is on every node, and is not used.
fn manifest(name: &str, node: &str) -> Value {
    // In the layout of a merged /usr, which nodes of kind have. Where there is no /usr/lib64, an empty one does no harm.
    let programs = [("usr", "/usr", "/usr"), ("bin", "/usr/bin", "/bin"), ("lib", "/usr/lib", "/lib")];
    let programs = programs.into_iter().chain([("lib64", "/usr/lib64", "/lib64"), ("node", "/", NODE)]);
    let (volumes, mounts): (Vec<Value>, Vec<Value>) = programs
        .map(|(name, path, to)| {
            let volume = json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
            (volume, json!({"name": name, "mountPath": to, "readOnly": name != "node"}))
        })
        .unzip();
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "hostPID": true, "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "hands", "image": relay::IMAGE, "command": ["/bin/sleep", "infinity"],
                "env": [{"name": "PATH", "value": "/usr/bin:/bin"}],
                "volumeMounts": mounts, "securityContext": {"privileged": true}}],
            "volumes": volumes,
        },
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
