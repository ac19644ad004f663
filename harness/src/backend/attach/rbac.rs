//! The rights that plexlab needs on a cluster that it attaches to: no more are used.
//!
//! A stack installs operators with cluster-wide roles. Who may create those without having all their rights must be
//! allowed to `escalate` and `bind`, so a cluster whose owner does not want that cannot have a stack.

use futures::StreamExt as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

/// Name of the role and its binding.
pub const NAME: &str = "plexlab";
/// Questions asked at the same time.
const WIDTH: usize = 8;

const READ: &[&str] = &["get", "list", "watch"];
const MANAGE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// API group, resources, verbs.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

/// What the role allows.
pub const RULES: &[Rule] = &[
    // The stack's parts.
    ("", &["namespaces", "secrets", "services", "serviceaccounts", "configmaps"], MANAGE),
    ("apps", &["deployments", "statefulsets", "daemonsets"], MANAGE),
    ("rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"], MANAGE),
    ("rbac.authorization.k8s.io", &["clusterroles"], &["escalate", "bind"]),
    ("apiextensions.k8s.io", &["customresourcedefinitions"], MANAGE),
    ("external-secrets.io", &["clustersecretstores", "externalsecrets", "secretstores"], MANAGE),
    ("apiextensions.crossplane.io", &["compositeresourcedefinitions", "compositions"], MANAGE),
    ("kubernetes.m.crossplane.io", &["clusterproviderconfigs"], MANAGE),
    // What scenarios look at, and the ways to the stack's Services.
    ("", &["nodes", "events", "resourcequotas"], READ),
    ("rbac.authorization.k8s.io", &["roles", "rolebindings"], READ),
    ("batch", &["jobs"], READ),
    ("", &["pods"], &["get", "list", "watch", "delete"]),
    ("", &["pods/log"], &["get"]),
    ("", &["pods/exec", "pods/portforward"], &["get", "create"]),
    ("blueprints.plexsphere.com", &["*"], &["get", "list", "watch", "patch"]),
    ("kubernetes.m.crossplane.io", &["objects", "providerconfigs"], READ),
];

/// The ClusterRole, and a ClusterRoleBinding to a user, group or service account that is still to be named.
pub fn objects() -> Vec<Value> {
    let rules: Vec<Value> = RULES
        .iter()
        .map(
            |(group, resources, verbs)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs}),
        )
        .collect();
    let api_version = "rbac.authorization.k8s.io/v1";
    vec![
        json!({"apiVersion": api_version, "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": rules}),
        json!({
            "apiVersion": api_version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NAME}],
        }),
    ]
}

/// The rights that this client lacks, each as `verb resource.group`.
///
/// # Errors
/// When the API server does not answer the question.
pub async fn missing(client: &Client) -> Result<Vec<String>, kube::Error> {
    let api: &Api<SelfSubjectAccessReview> = &Api::all(client.clone());
    let questions = RULES.iter().flat_map(|(group, resources, verbs)| {
        resources.iter().flat_map(move |resource| verbs.iter().map(move |verb| (*group, *resource, *verb)))
    });
    let asked: Vec<Result<Option<String>, kube::Error>> = futures::stream::iter(questions)
        .map(|(group, resource, verb)| async move {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(attributes(group, resource, verb)),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let answer = api.create(&PostParams::default(), &review).await?;
            let is_allowed = answer.status.is_some_and(|status| status.allowed);
            let dot = if group.is_empty() { "" } else { "." };
            Ok((!is_allowed).then(|| format!("{verb} {resource}{dot}{group}")))
        })
        .buffered(WIDTH)
        .collect()
        .await;
    let answers = asked.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(answers.into_iter().flatten().collect())
}

fn attributes(group: &str, resource: &str, verb: &str) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    }
}
