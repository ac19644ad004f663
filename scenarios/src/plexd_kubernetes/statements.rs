//! The statements of the DaemonSet reference that agents are held to, by its sections.
//!
//! Those about manifests are in `manifests.rs`, which makes them from data.

use super::scenes::Scene;

/// One statement.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// Its id on the command line.
    pub id: &'static str,
    /// The reference's section.
    pub section: &'static str,
    /// What it says, in a few words.
    pub text: &'static str,
    /// Which scene judges it.
    pub scene: Scene,
    /// Without these, it cannot be judged: if one of them fails, this is skipped.
    pub after: &'static [&'static str],
    /// The behaviour of the stand-in whose absence must make exactly this fail; or none, and why.
    pub mutant: Result<&'static str, &'static str>,
}

const fn of(
    id: &'static str,
    section: &'static str,
    text: &'static str,
    scene: Scene,
    after: &'static [&'static str],
    mutant: Result<&'static str, &'static str>,
) -> Statement {
    Statement { id, section, text, scene, after, mutant }
}

const ENVIRONMENT: &str = "KubernetesEnvironment";
const CONFIG: &str = "Config";
const STATE: &str = "PlexdNodeState CRD";
const CLIENT: &str = "KubeClient interface";
const CONTROLLER: &str = "CRDController";
const AUDIT: &str = "K8sAuditLogReader";
const REVIEW: &str = "TokenReviewAuthenticator";
const HTTP: &str = "HTTPTokenReviewClient";
const DAEMONSET: &str = "DaemonSet configuration";
const VARIABLES: &str = "Environment variables";
const MOUNTS: &str = "Volume mounts";
const LIFE: &str = "Node life";
const INPUT: &str = "Bad input";

/// What a scene in a pod rests on.
const POD: &[&str] = &["env.in-cluster", "client.token"];
/// And one that does not say what its namespace is.
const DETECTED: &[&str] = &["env.in-cluster", "client.token", "env.namespace"];
const RETRIES: &[&str] = &[
    "env.in-cluster",
    "client.token",
    "controller.create",
    "state.name",
    "controller.update",
    "client.retry",
];
const TRIED: &[&str] = &["env.in-cluster", "client.token", "controller.create", "state.name", "client.retry"];
const RESTARTS: &[&str] = &[
    "env.in-cluster",
    "client.token",
    "controller.create",
    "state.name",
    "controller.update",
    "controller.sync",
    "controller.notify",
];
const STATES: &[&str] = &["env.in-cluster", "client.token", "controller.create", "state.name"];
const UPDATES: &[&str] =
    &["env.in-cluster", "client.token", "controller.create", "state.name", "controller.update"];
const AUDITS: &[&str] = &["env.in-cluster", "client.token", "config.audit-default", "audit.new"];
const GARBAGE: &[&str] =
    &["env.in-cluster", "client.token", "config.audit-default", "audit.new", "audit.offset"];
const REVIEWS: &[&str] = &["env.in-cluster", "client.token", "http.path"];
const HOOKS: &[&str] = &["env.in-cluster", "client.token", "env.node-name", "hook.job"];
const REPORTS: &[&str] = &["env.in-cluster", "client.token", "state.name", "controller.notify"];
const ROLLED: &[&str] = &["variable.token"];
const EVICTED: &[&str] =
    &["variable.token", "mount.identity", "env.in-cluster", "client.token", "audit.new", "daemonset.drain"];

const SAME: Result<&str, &str> = Err("the same behaviour as another statement's, whose mutant it is");

/// All of them.
// One line each: it is a table.
#[rustfmt::skip]
pub const STATEMENTS: &[Statement] = &[
    of("env.in-cluster", ENVIRONMENT, "InCluster: true if KUBERNETES_SERVICE_HOST is set", Scene::Forced, &[], Ok("detect-cluster")),
    of("env.nil-outside", ENVIRONMENT, "Detect is nil outside of a pod", Scene::Outside, &["env.in-cluster"], SAME),
    of("env.namespace", ENVIRONMENT, "Namespace: read from the service account's mount", Scene::Pod, &["env.in-cluster", "client.token", "controller.create", "state.name"], Ok("detect-namespace")),
    of("env.pod-name", ENVIRONMENT, "PodName: HOSTNAME", Scene::Pod, DETECTED, Ok("detect-pod-name")),
    of("env.node-name", ENVIRONMENT, "NodeName: MY_NODE_NAME", Scene::Pod, DETECTED, Ok("detect-node-name")),
    of("env.token", ENVIRONMENT, "ServiceAccountToken: the mount's token", Scene::Pod, DETECTED, Ok("detect-token-path")),
    of("config.enabled-default", CONFIG, "Enabled is false by default", Scene::Outside, &["env.in-cluster"], Ok("disabled-outside")),
    of("config.enabled-in-pod", CONFIG, "ApplyDefaults in a pod: Enabled becomes true", Scene::Forced, &["env.in-cluster", "client.token"], SAME),
    of("config.crd-in-pod", CONFIG, "ApplyDefaults in a pod: CRDEnabled becomes true", Scene::Forced, &["env.in-cluster", "client.token", "controller.create"], SAME),
    of("config.namespace-detected", CONFIG, "ApplyDefaults in a pod: Namespace is detected", Scene::Pod, DETECTED, SAME),
    of("config.namespace-set", CONFIG, "Namespace overrides what is detected", Scene::Override, STATES, Ok("namespace-override")),
    of("config.audit-default", CONFIG, "AuditLogPath: /var/log/kubernetes/audit/audit.log", Scene::Audit, &["env.in-cluster", "client.token", "audit.new"], Ok("audit-log-default")),
    of("config.audit-set", CONFIG, "AuditLogPath can be set", Scene::Override, &["env.in-cluster", "client.token", "audit.new"], Ok("audit-log-path")),
    of("config.interval-default", CONFIG, "CRDSyncInterval: 10s", Scene::Forced, &["env.in-cluster", "client.token", "controller.create", "state.name", "controller.sync"], Ok("sync-interval-default")),
    of("config.interval-set", CONFIG, "CRDSyncInterval can be set", Scene::Override, &["env.in-cluster", "client.token", "controller.create", "state.name", "controller.sync"], Ok("sync-interval")),
    of("config.token-default", CONFIG, "TokenPath: the service account's token", Scene::Forced, &["env.in-cluster", "client.token"], SAME),
    of("config.token-set", CONFIG, "TokenPath can be set", Scene::TokenPath, &["env.in-cluster", "client.token"], Ok("token-path")),
    of("validate.disabled", CONFIG, "Validate is skipped while Enabled is false", Scene::OutsideInvalid, &["env.in-cluster", "config.enabled-default"], Ok("validate-only-enabled")),
    of("validate.namespace", CONFIG, "Validate: Namespace must not be empty", Scene::NoNamespace, &["env.in-cluster"], Ok("validate-namespace")),
    of("validate.audit", CONFIG, "Validate: AuditLogPath must not be empty", Scene::Unreachable, &[], Err("cannot be seen from outside: ApplyDefaults fills an empty path")),
    of("validate.interval", CONFIG, "Validate: CRDSyncInterval is at least 1s", Scene::ShortInterval, &["env.in-cluster", "config.interval-set"], Ok("validate-interval")),
    of("validate.token", CONFIG, "Validate: TokenPath must not be empty", Scene::Unreachable, &[], Err("cannot be seen from outside: ApplyDefaults fills an empty path")),
    of("state.name", STATE, "the resource's name is node-{node_id}", Scene::Forced, &["env.in-cluster", "client.token", "controller.create"], Ok("state-name")),
    of("state.node-id", STATE, "spec.nodeId is the node's id", Scene::State, UPDATES, Ok("state-node-id")),
    of("state.mesh-ip", STATE, "spec.meshIp is the node's address", Scene::State, UPDATES, Ok("state-mesh-ip")),
    of("state.metadata", STATE, "spec.metadata is the control plane's", Scene::State, UPDATES, Ok("state-metadata")),
    of("state.data", STATE, "spec.data is the control plane's", Scene::State, UPDATES, Ok("state-data")),
    of("state.secret-refs", STATE, "spec.secretRefs names the Secrets", Scene::Secrets, &["env.in-cluster", "client.token", "state.name", "controller.update", "secret.create"], Ok("state-secret-refs")),
    of("state.last-update", STATE, "lastUpdate is the time of the last write", Scene::State, UPDATES, Ok("state-last-update")),
    of("state.group", STATE, "plexd.plexsphere.com/v1alpha1, PlexdNodeState, namespaced, short name pns: served", Scene::Definitions, &[], Err("about the definitions, whose mutants are the manifests'")),
    of("state.columns", STATE, "printer columns Node ID, Mesh IP, Age: shown", Scene::Definitions, &[], Err("about the definitions, whose mutants are the manifests'")),
    of("client.not-found", CLIENT, "ErrNotFound: kubernetes: resource not found", Scene::Refused, &["env.in-cluster", "client.token", "state.name"], Err("the text of an error that is recognised: without the recognition nothing is created, which is controller.create")),
    of("client.already-exists", CLIENT, "creating what exists is no failure: it is updated", Scene::Refused, RETRIES, Ok("state-conflict")),
    of("client.unauthorized", CLIENT, "ErrUnauthorized: kubernetes: unauthorized", Scene::Refused, &["env.in-cluster", "client.token", "state.name", "client.retry"], Err("the text of an error; that it is no end is client.retry")),
    of("client.retry", CLIENT, "an API server that refuses at first is asked again", Scene::Refused, UPDATES, Ok("start-retry")),
    of("client.secret-exists", CLIENT, "idempotent: a Secret that is there already becomes the node's", Scene::Secrets, &["env.in-cluster", "client.token", "state.name", "secret.create", "secret.update", "secret.delete"], Ok("secret-adopt")),
    of("client.secret-gone", CLIENT, "idempotent: deleting a Secret that is gone is no failure", Scene::Secrets, &["env.in-cluster", "client.token", "state.name", "secret.create", "secret.delete", "client.secret-exists"], Ok("delete-gone")),
    of("client.job-exists", CLIENT, "idempotent: creating a Job that is there is no failure", Scene::Hooks, &["env.in-cluster", "client.token", "env.node-name", "hook.job", "hook.owner"], Ok("job-exists")),
    of("client.token", CLIENT, "requests carry the service account's token", Scene::Forced, &["env.in-cluster"], Ok("service-account-token")),
    of("secret.create", CLIENT, "CreateSecret: a secret reference becomes a Secret of the node's resource", Scene::Secrets, STATES, Ok("secret-create")),
    of("secret.update", CLIENT, "UpdateSecret: a newer version is stored", Scene::Secrets, &["env.in-cluster", "client.token", "state.name", "secret.create"], Ok("secret-update")),
    of("secret.delete", CLIENT, "DeleteSecret: a reference that is gone takes its Secret with it", Scene::Secrets, &["env.in-cluster", "client.token", "state.name", "controller.update", "secret.create", "state.secret-refs"], Ok("secret-delete")),
    of("secret.sealed", CLIENT, "the Secret holds ciphertext, not the value", Scene::Secrets, &["env.in-cluster", "client.token", "state.name", "secret.create"], Ok("secret-encrypted")),
    of("hook.job", CLIENT, "WatchPlexdHooks, CreateJob: a hook becomes a Job", Scene::Hooks, &["env.in-cluster", "client.token", "env.node-name"], Ok("hook-job")),
    of("hook.owner", CLIENT, "the Job belongs to its hook", Scene::Hooks, HOOKS, Ok("hook-owner")),
    of("hook.node", CLIENT, "the Job runs on the agent's node", Scene::Hooks, HOOKS, Ok("hook-node")),
    of("hook.no-restart", CLIENT, "the Job's pods are not restarted", Scene::Hooks, HOOKS, Ok("hook-no-restart")),
    of("hook.parameters", CLIENT, "parameters become PLEXD_PARAM_ variables", Scene::Hooks, HOOKS, Ok("hook-parameters")),
    of("hook.privileged", CLIENT, "only a privileged hook may change its host", Scene::Hooks, HOOKS, Ok("hook-privileged")),
    of("hook.status", CLIENT, "UpdatePlexdHookStatus: Job and phase, to the end", Scene::Hooks, &["env.in-cluster", "client.token", "env.node-name", "hook.job", "hook.owner", "client.job-exists"], Ok("hook-status")),
    of("controller.create", CONTROLLER, "Start creates the resource", Scene::State, POD, Ok("state-create")),
    of("controller.update", CONTROLLER, "Start updates the resource that is there", Scene::Present, STATES, Ok("state-update")),
    of("controller.keeps", CONTROLLER, "labels and status of others stay", Scene::Present, UPDATES, Ok("state-keeps-others")),
    of("controller.sync", CONTROLLER, "the resource is put right at each interval", Scene::Present, UPDATES, Ok("state-sync")),
    of("controller.notify", CONTROLLER, "a new report entry reaches the control plane", Scene::Reports, STATES, Ok("status-watch")),
    of("controller.changed", CONTROLLER, "a changed report entry reaches the control plane", Scene::Reports, REPORTS, Ok("report-changed")),
    of("controller.unchanged", CONTROLLER, "an unchanged report is not sent again", Scene::Reports, REPORTS, Ok("report-unchanged")),
    of("controller.removed", CONTROLLER, "a removed report entry is removed at the control plane", Scene::Reports, REPORTS, Ok("report-removed")),
    of("controller.blocks", CONTROLLER, "Start blocks until it is cancelled: the agent runs until SIGTERM, and ends with 0", Scene::Drain, &["config.enabled-default"], Ok("clean-end")),
    of("audit.new", AUDIT, "entries are read and forwarded", Scene::Audit, POD, Ok("audit-forward")),
    of("audit.offset", AUDIT, "only entries since the last read are returned", Scene::Audit, AUDITS, Ok("audit-offset")),
    of("audit.missing", AUDIT, "a file that cannot be opened is an error", Scene::Audit, &["env.in-cluster", "client.token"], Ok("audit-missing")),
    of("audit.truncated", AUDIT, "a truncated file is read from its beginning", Scene::Audit, AUDITS, Ok("audit-truncation")),
    of("audit.malformed", AUDIT, "malformed lines are skipped", Scene::Audit, AUDITS, Ok("audit-malformed-skipped")),
    of("audit.warned", AUDIT, "malformed lines are warned of", Scene::Audit, AUDITS, Ok("audit-malformed-warned")),
    of("audit.stage-time", AUDIT, "the time is stageTimestamp", Scene::Audit, AUDITS, Ok("audit-stage-timestamp")),
    of("audit.received-time", AUDIT, "without it, requestReceivedTimestamp", Scene::Audit, AUDITS, Ok("audit-received-timestamp")),
    of("audit.no-object", AUDIT, "objectRef may be nil", Scene::Audit, AUDITS, Ok("audit-no-object")),
    of("audit.no-status", AUDIT, "responseStatus may be nil", Scene::Audit, AUDITS, Ok("audit-no-status")),
    of("review.empty", REVIEW, "an empty token: kubernetes: authenticate: empty token", Scene::Reviews, POD, Ok("review-empty")),
    of("review.failed", REVIEW, "a client error: kubernetes: authenticate: review failed", Scene::Reviews, POD, Ok("review-failed")),
    of("review.refused", REVIEW, "not authenticated: kubernetes: authenticate: token not authenticated", Scene::Reviews, REVIEWS, Ok("review-refused")),
    of("review.audience", REVIEW, "another audience: kubernetes: authenticate: audience mismatch", Scene::Audience, REVIEWS, Ok("review-audience")),
    of("review.success", REVIEW, "success: let in", Scene::Reviews, REVIEWS, Ok("review-success")),
    of("http.path", HTTP, "posts to /apis/authentication.k8s.io/v1/tokenreviews", Scene::Reviews, POD, Ok("review-path")),
    of("http.credential", HTTP, "authenticates with the service account's token", Scene::Reviews, POD, SAME),
    of("http.ca", HTTP, "trusts the mount's ca.crt, and nothing else", Scene::OtherAuthority, &["env.in-cluster"], Ok("cluster-ca")),
    of("http.tls", HTTP, "TLS 1.2 at least", Scene::OldTls, &["env.in-cluster"], Ok("tls-minimum")),
    of("daemonset.every-node", DAEMONSET, "runs on every node, the control plane's too", Scene::DaemonSet, &[], Err("about the manifests, whose mutants are their own")),
    of("daemonset.read-only", DAEMONSET, "readOnlyRootFilesystem holds, and the agent runs with it", Scene::DaemonSet, ROLLED, Err("an agent that writes to its root ends in every scene; a root that can be written fails daemonset's own row")),
    of("daemonset.live", DAEMONSET, "GET /healthz on the health port", Scene::DaemonSet, ROLLED, Ok("liveness")),
    of("daemonset.ready", DAEMONSET, "GET /readyz only once the node is registered", Scene::Pending, &["life.late"], Ok("readiness")),
    of("daemonset.drain", DAEMONSET, "SIGTERM: what was read is sent before the end", Scene::Drain, AUDITS, Ok("drain")),
    of("daemonset.evicted", DAEMONSET, "a drained node's agent is evicted, sends what it has, and is the same node again", Scene::DaemonSet, EVICTED, Err("about the cluster; the end itself is daemonset.drain")),
    of("daemonset.rolled", DAEMONSET, "a rolling update registers no node again", Scene::DaemonSet, &["variable.token", "mount.identity"], SAME),
    of("variable.node-name", VARIABLES, "MY_NODE_NAME comes from spec.nodeName", Scene::Pod, &["env.namespace"], Err("the cluster sets it; a manifest without it fails its own row")),
    of("variable.token", VARIABLES, "PLEXD_BOOTSTRAP_TOKEN is the token that registers", Scene::DaemonSet, &["daemonset.every-node"], Ok("token-variable")),
    of("mount.identity", MOUNTS, "/var/lib/plexd: the identity survives the pod", Scene::DaemonSet, ROLLED, Ok("identity-kept")),
    of("mount.socket", MOUNTS, "/var/run/plexd: the local API's socket", Scene::DaemonSet, ROLLED, Ok("socket")),
    of("mount.config-read-only", MOUNTS, "/etc/plexd read-only: a token there that cannot be deleted does not stop the agent", Scene::TokenFile, &[], Ok("token-read-only")),
    of("mount.config-documented", MOUNTS, "/etc/plexd: a configuration as the newer documents spell it starts the agent", Scene::Documented, &[], Err("an agent that cannot read it registers in no scene")),
    of("mount.audit-read-only", MOUNTS, "/var/log/kubernetes/audit read-only is enough", Scene::Audit, AUDITS, Err("an agent that needs more than to read fails audit.new")),
    of("rbac.sufficient", "RBAC permissions", "the role is all that the agent needs", Scene::Pod, DETECTED, Err("a role that lacks a right fails its own row; an agent that needs another fails controller.create")),
    of("rbac.granted", "RBAC permissions", "each right of the table is granted by the cluster", Scene::Rights, &[], Err("about the manifests, whose mutants are their own")),
    of("rbac.no-more", "RBAC permissions", "no other right on these resources, and none on others", Scene::Rights, &[], Err("about the manifests, whose mutants are their own")),
    of("rbac.tried", "RBAC permissions", "as the agent's account: what the table lacks is refused, what it has is not", Scene::Rights, &["rbac.granted", "rbac.no-more"], Err("the rights of rbac.granted and rbac.no-more, tried instead of asked about")),
    of("rbac.consumers", "RBAC permissions", "each consumer role grants its row and no more", Scene::Rights, &[], Err("about the manifests, whose mutants are their own")),
    of("life.late", LIFE, "a control plane that is down at the first start is waited for", Scene::Life, &[], Ok("registration-retry")),
    of("life.gone", LIFE, "a control plane that goes and comes back finds the same node", Scene::Life, &["life.late"], Ok("beat-after-outage")),
    of("life.revoked", LIFE, "401 nsk_revoked: the agent goes on, and takes no new identity", Scene::Life, &["mount.identity", "life.late", "life.gone", "life.skew"], Ok("beat-after-revocation")),
    of("life.deregistered", LIFE, "404 while running: the agent goes on, and takes no new identity", Scene::Life, &["mount.identity", "life.late", "life.gone", "life.skew", "life.revoked"], Ok("beat-after-deregistration")),
    of("life.skew", LIFE, "400 clock_skew: the agent goes on", Scene::Life, &["life.late", "life.gone"], Ok("beat-after-skew")),
    of("life.lost-reply", LIFE, "a registration whose reply is lost is repeated unchanged", Scene::LostReply, &[], Ok("registration-repeat")),
    of("life.event", LIFE, "a signed event is taken", Scene::Events, &[], Ok("event-taken")),
    of("life.tampered", LIFE, "a tampered event is refused, and the stream goes on", Scene::Events, &["life.event"], Ok("event-signature")),
    of("life.cut", LIFE, "a stream that is cut in the middle of an event is opened again", Scene::Events, &["life.event"], Ok("stream-reopen")),
    of("life.rotated", LIFE, "a rotated signing key vouches for what follows", Scene::Events, &["life.event", "life.cut"], Ok("signing-key-rotation")),
    of("input.config", INPUT, "a configuration that is no YAML ends the agent, and is named", Scene::BadConfig, &[], Ok("config-refused")),
    of("input.token", INPUT, "a token file that cannot be read ends the agent before it asks, and is named", Scene::BadToken, &[], Ok("token-refused")),
    of("input.audit", INPUT, "a gigabyte of garbage in the audit log costs bounded memory, and no event after it", Scene::BadAudit, GARBAGE, Ok("audit-bounded")),
    of("input.rights", INPUT, "a missing right is named, and asked for again", Scene::NoRights, TRIED, Ok("rights-retry")),
    of("input.definitions", INPUT, "definitions that are missing are named, and the resource is written once they are there", Scene::NoDefinitions, TRIED, SAME),
    of("input.api-restart", INPUT, "an API server that is restarted is waited for, and caught up with", Scene::ApiRestart, RESTARTS, Ok("outage-retry")),
];
