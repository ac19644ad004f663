//! The agent as a pod in a namespace of its own: how it is set up, and what is seen of it.

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use plexlab_harness::agents::{self, Generation, merge};
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use super::api_proxy::ApiProxy;
use super::control_plane::{ControlPlane, TOKEN};
use super::ground::{GROUP, Ground, WITHIN};
use super::hands::{AUDIT, At, Hands};

/// The image under which the agent runs, when it is no other.
pub const IMAGE: &str = "plexlab.dev/plexd:dev";
/// Where a pod's service account is mounted.
pub const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The pod's name.
pub const POD: &str = "agent";
/// How long a container may take to be started.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// Where a pod's service account comes from.
pub enum Account<'p> {
    /// The cluster's own mount.
    Mounted,
    /// The same files, with the proxy's address and authority.
    Behind(&'p ApiProxy),
    /// As [`Account::Behind`], with this as the authority.
    BehindWith(&'p ApiProxy, String),
    /// Any address and authority.
    At(SocketAddr, String),
    /// As [`Account::Behind`], without the namespace file.
    WithoutNamespace(&'p ApiProxy),
    /// No pod, as far as the agent can see.
    Outside,
}

/// How an agent is set up.
pub struct Setup<'p> {
    /// Its namespace, made for it.
    pub namespace: &'static str,
    /// The service account.
    pub account: Account<'p>,
    /// The section `kubernetes` of its configuration. Without a namespace, its own is named: detection is the matter of
    /// one scene, and not of all.
    pub kubernetes: Value,
    /// More of its configuration, merged in.
    pub more: Value,
    /// Volumes and mounts beside the usual.
    pub volumes: Vec<(Value, Value)>,
    /// Of which generations the configuration is to be; none means of the agent's own.
    pub generations: Option<&'static [Generation]>,
    /// A file in the place of the configuration.
    pub file: Option<&'static str>,
    /// Whether its account gets the agent's role.
    pub rights: bool,
}

impl<'p> Setup<'p> {
    /// The usual.
    pub fn new(namespace: &'static str, account: Account<'p>) -> Self {
        Self {
            namespace,
            account,
            kubernetes: json!({}),
            more: json!({}),
            volumes: Vec::new(),
            generations: None,
            file: None,
            rights: true,
        }
    }

    /// With this as the Kubernetes half's configuration; keys without underscores are added.
    pub fn kubernetes(mut self, settings: Value) -> Self {
        self.kubernetes = settings;
        self
    }

    /// With more configuration.
    pub fn more(mut self, more: Value) -> Self {
        self.more = more;
        self
    }
}

/// The agent's configuration: its file, for an agent of one of these generations.
pub fn configuration(url: &str, kubernetes: &Value, more: &Value, generations: &[Generation]) -> String {
    let mut settings = json!({
        "data_dir": "/var/lib/plexd",
        "log_level": "debug",
        "api": {"base_url": url},
        "registration": {"token_value": TOKEN, "retry_interval": "200ms", "retry_max_interval": "1s"},
        "node_api": {"socket_path": "/var/run/plexd/api.sock", "debounce_period": "300ms"},
        "heartbeat": {"interval": "1s"},
        "reconcile": {"interval": "1s"},
        "audit": {"collect_interval": "1s", "report_interval": "1s"},
        "kubernetes": kubernetes,
    });
    merge(&mut settings, more);
    serde_norway::to_string(&agents::configuration(&settings, generations)).unwrap_or_default()
}

/// An agent that runs as a pod, and its control plane.
pub struct Agent<'g> {
    ground: &'g Ground,
    /// Its namespace.
    pub namespace: &'static str,
    /// What it talks to.
    pub plane: ControlPlane,
}

impl Ground {
    /// Starts an agent, with a control plane of its own that `prepare` sets up.
    ///
    /// # Errors
    /// When the API server refuses its objects.
    pub async fn agent(
        &self,
        setup: Setup<'_>,
        prepare: impl FnOnce(&ControlPlane),
    ) -> Result<Agent<'_>, Failure> {
        let plane = ControlPlane::start(&self.ways).await?;
        prepare(&plane);
        if setup.rights {
            self.namespace(setup.namespace).await?;
        } else {
            self.without_rights(setup.namespace).await?;
        }
        self.agent_in(setup, plane).await
    }

    /// The same in a namespace that is there.
    ///
    /// # Errors
    /// When the API server refuses its objects.
    pub async fn agent_in(&self, setup: Setup<'_>, plane: ControlPlane) -> Result<Agent<'_>, Failure> {
        let core = format!("/api/v1/namespaces/{}", setup.namespace);
        let mut kubernetes = json!({"namespace": setup.namespace});
        merge(&mut kubernetes, &setup.kubernetes);
        let config = match setup.file {
            Some(file) => file.to_owned(),
            None => {
                let generations = setup.generations.unwrap_or(self.generations);
                configuration(&plane.url, &kubernetes, &setup.more, generations)
            }
        };
        let map = json!({"metadata": {"name": "plexd-config"}, "data": {"config.yaml": config}});
        self.create(&format!("{core}/configmaps"), &map).await?;
        if let Some(authority) = setup.account.authority() {
            let map = json!({"metadata": {"name": "authority"}, "data": {"ca.crt": authority}});
            self.create(&format!("{core}/configmaps"), &map).await?;
        }
        self.create(&format!("{core}/pods"), &self.pod(&setup)).await?;
        if let Hands::OnNodes(_) = self.hands {
            self.has_begun(&format!("{core}/pods/{POD}")).await;
        }
        Ok(Agent { ground: self, namespace: setup.namespace, plane })
    }

    /// Waits until a pod's container has been started: what the agent does is timed from there, and on a busy machine many
    /// containers take their time. One that is never started shows in what is waited for next.
    async fn has_begun(&self, pod: &str) {
        let begun = eventually("a container to be started", BEGINS_WITHIN, || async {
            let pod = self.find(pod).await.ok().flatten().unwrap_or_default();
            let state = pod["status"]["containerStatuses"][0]["state"].clone();
            match state["running"].is_object() || state["terminated"].is_object() {
                true => Check::Done(()),
                false => Check::NotYet(state.to_string()),
            }
        });
        if let Err(error) = begun.await {
            tracing::debug!(%error, "an agent is not started");
        }
    }

    fn pod(&self, setup: &Setup<'_>) -> Value {
        let field =
            |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let mut env = vec![field("MY_NODE_NAME", "spec.nodeName"), field("POD_IP", "status.podIP")];
        env.extend(setup.account.variables());
        if let Some(without) = &self.without {
            env.push(json!({"name": "PLEXLAB_PLEXD_WITHOUT", "value": without}));
        }
        let mut volumes = vec![
            json!({"name": "config", "configMap": {"name": "plexd-config"}}),
            json!({"name": "data", "emptyDir": {}}),
            json!({"name": "run", "emptyDir": {}}),
            json!({"name": "audit", "emptyDir": {}}),
        ];
        let mut mounts = vec![
            json!({"name": "config", "mountPath": "/etc/plexd", "readOnly": true}),
            json!({"name": "data", "mountPath": "/var/lib/plexd"}),
            json!({"name": "run", "mountPath": "/var/run/plexd"}),
            json!({"name": "audit", "mountPath": AUDIT, "readOnly": true}),
        ];
        if let Some(volume) = setup.account.volume() {
            volumes.push(volume);
            mounts.push(json!({"name": "account", "mountPath": ACCOUNT, "readOnly": true}));
        }
        for (volume, mount) in &setup.volumes {
            volumes.push(volume.clone());
            mounts.push(mount.clone());
        }
        let agent = json!({
            "name": "plexd", "image": self.image, "imagePullPolicy": "IfNotPresent", "env": env,
            "volumeMounts": mounts, "args": ["up", "--config", "/etc/plexd/config.yaml", "--log-level", "debug"],
            "securityContext": {"readOnlyRootFilesystem": true},
        });
        let containers: Vec<Value> = std::iter::once(agent).chain(self.hands.writer()).collect();
        json!({
            "metadata": {"name": POD, "labels": {"app.kubernetes.io/name": "plexd"}},
            "spec": {
                "serviceAccountName": "plexd",
                "automountServiceAccountToken": matches!(setup.account, Account::Mounted),
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 10,
                "containers": containers,
                "volumes": volumes,
            },
        })
    }
}

impl Account<'_> {
    fn variables(&self) -> Vec<Value> {
        let at = |host: String, port: String| {
            vec![
                json!({"name": "KUBERNETES_SERVICE_HOST", "value": host}),
                json!({"name": "KUBERNETES_SERVICE_PORT", "value": port}),
            ]
        };
        match self {
            Account::Mounted => Vec::new(),
            Account::Outside => at(String::new(), String::new()),
            Account::Behind(proxy) | Account::BehindWith(proxy, _) | Account::WithoutNamespace(proxy) => {
                at(proxy.address.ip().to_string(), proxy.address.port().to_string())
            }
            Account::At(address, _) => at(address.ip().to_string(), address.port().to_string()),
        }
    }

    fn authority(&self) -> Option<&str> {
        match self {
            Account::Mounted | Account::Outside => None,
            Account::Behind(proxy) | Account::WithoutNamespace(proxy) => Some(&proxy.ca),
            Account::BehindWith(_, authority) | Account::At(_, authority) => Some(authority),
        }
    }

    /// What the kubelet would mount, with another authority.
    fn volume(&self) -> Option<Value> {
        self.authority()?;
        let mut sources = vec![
            json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}),
            json!({"configMap": {"name": "authority", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}),
        ];
        if !matches!(self, Account::WithoutNamespace(_)) {
            let field = json!({"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}});
            sources.push(json!({"downwardAPI": {"items": [field]}}));
        }
        Some(json!({"name": "account", "projected": {"sources": sources}}))
    }
}

impl Agent<'_> {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.ground.client.clone(), self.namespace)
    }

    /// What it has logged; empty before it starts.
    pub async fn log(&self) -> String {
        let how = LogParams { container: Some("plexd".into()), ..LogParams::default() };
        self.pods().logs(POD, &how).await.unwrap_or_default()
    }

    /// Its last lines, as evidence.
    pub async fn evidence(&self) -> String {
        let log = self.log().await;
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(6)..].join("\n")
    }

    /// Waits for a line that `wanted` takes.
    ///
    /// # Errors
    /// With the last line.
    pub async fn logged(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String, Failure> {
        let found = eventually(format!("a log line: {what}"), WITHIN, || async {
            let log = self.log().await;
            match log.lines().find(|line| wanted(line)) {
                Some(line) => Check::Done(line.to_owned()),
                None => Check::NotYet(log.lines().last().unwrap_or("the log is empty").to_owned()),
            }
        });
        Ok(found.await?)
    }

    /// Waits until it has registered; its node id.
    ///
    /// # Errors
    /// With its last line.
    pub async fn registered(&self) -> Result<String, Failure> {
        let found = eventually("the agent's first heartbeat", WITHIN, || async {
            match self.plane.of("heartbeat").first() {
                Some(beat) => Check::Done(beat.path.split('/').nth(1).unwrap_or_default().to_owned()),
                None => Check::NotYet(self.evidence().await),
            }
        });
        Ok(found.await?)
    }

    /// Waits for its end; the exit code.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn ended(&self) -> Result<i64, Failure> {
        let path = format!("/api/v1/namespaces/{}/pods/{POD}", self.namespace);
        let code = |pod: &Value| {
            let all = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            let plexd = all.into_iter().find(|status| status["name"] == "plexd")?;
            plexd["state"]["terminated"]["exitCode"].as_i64()
        };
        let pod = self.ground.until("the agent's end", &path, |pod| code(pod).is_some()).await?;
        Ok(code(&pod).unwrap_or_default())
    }

    /// Waits until the pod has an address.
    ///
    /// # Errors
    /// When it gets none.
    pub async fn placed(&self) -> Result<(), Failure> {
        let path = format!("/api/v1/namespaces/{}/pods/{POD}", self.namespace);
        self.ground.until("the pod's address", &path, |pod| pod["status"]["podIP"].is_string()).await?;
        Ok(())
    }

    /// The path of its resource.
    pub fn state(&self, node: &str) -> String {
        state_path(self.namespace, node)
    }

    /// Appends to its API server's audit log, or writes it anew.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn audit(&self, how: &str, file: &str, text: &str) -> Result<(), Failure> {
        let script = format!("printf '%s' \"$1\" {how} {file}");
        let ready = eventually("the audit log's writer", WITHIN, || async {
            match self.ground.script(At::Audit(self.namespace, POD), &script, text).await {
                Ok(_) => Check::Done(()),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(ready.await?)
    }
}

/// The path of a node's resource.
pub fn state_path(namespace: &str, node: &str) -> String {
    format!("{GROUP}/namespaces/{namespace}/plexdnodestates/node-{node}")
}
