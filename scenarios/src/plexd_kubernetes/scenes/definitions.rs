//! The definitions and roles as the cluster serves them; no agent takes part.

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};

use crate::plexd_kubernetes::ground::{GROUP, Ground, WITHIN};
use crate::plexd_kubernetes::manifests::{CONSUMERS, RIGHTS};

pub async fn served(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let found = ground.find(GROUP).await?.unwrap_or_default();
    let resources = found["resources"].as_array().cloned().unwrap_or_default();
    let states = resources.iter().find(|one| one["name"] == "plexdnodestates").cloned().unwrap_or_default();
    let right = states["kind"] == "PlexdNodeState"
        && states["namespaced"] == true
        && states["shortNames"] == json!(["pns"]);
    if right {
        ledger.pass("state.group", states.to_string());
    } else {
        ledger.fail("state.group", "PlexdNodeState, namespaced, pns", states.to_string(), GROUP);
    }
    let request = http::Request::get(format!("{GROUP}/plexdnodestates"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    let table: Value = ground.client.request(request).await?;
    let columns = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = columns.iter().filter_map(|column| column["name"].as_str()).collect();
    if names == ["Name", "Node ID", "Mesh IP", "Age"] {
        ledger.pass("state.columns", names.join(", "));
    } else {
        ledger.fail(
            "state.columns",
            "Node ID, Mesh IP, Age",
            names.join(", "),
            "the table of plexdnodestates",
        );
    }
    Ok(())
}

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// What is none of the agent's business.
const OTHERS: [(&str, &str); 6] = [
    ("", "pods"),
    ("", "nodes"),
    ("", "configmaps"),
    ("apps", "daemonsets"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

async fn may(ground: &Ground, user: &str, group: &str, resource: &str, verb: &str) -> Result<bool, Failure> {
    let (resource, below) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": {
            "group": group, "resource": resource, "subresource": below, "verb": verb, "namespace": "plexd-system"}},
    });
    let answer = ground.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
    Ok(answer["status"]["allowed"] == true)
}

const NAMESPACE: &str = "/api/v1/namespaces/plexd-system";
const JOBS: &str = "/apis/batch/v1/namespaces/plexd-system/jobs";
const STATES: &str = "/apis/plexd.plexsphere.com/v1alpha1/namespaces/plexd-system/plexdnodestates";
const HOOKS: &str = "/apis/plexd.plexsphere.com/v1alpha1/namespaces/plexd-system/plexdhooks";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Does, with a token of the agent's account, what the table has and what it lacks.
async fn tried(ground: &Ground) -> Result<String, Failure> {
    let token = ground.token("plexd-system").await?;
    let none = |list: &str| format!("{list}/none");
    let secrets = format!("{NAMESPACE}/secrets");
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let empty = json!({});
    let has: [(&str, String, Option<&Value>); 8] = [
        ("GET", STATES.into(), None),
        ("DELETE", none(STATES), None),
        ("PATCH", format!("{}/status", none(STATES)), Some(&empty)),
        ("GET", none(&secrets), None),
        ("DELETE", none(&secrets), None),
        ("GET", HOOKS.into(), None),
        ("GET", JOBS.into(), None),
        ("POST", REVIEWS.into(), Some(&review)),
    ];
    let lacks: [(&str, String, Option<&Value>); 9] = [
        ("GET", secrets, None),
        ("GET", format!("{NAMESPACE}/pods"), None),
        ("POST", format!("{NAMESPACE}/pods"), Some(&empty)),
        ("GET", "/api/v1/nodes".into(), None),
        ("PATCH", none(HOOKS), Some(&empty)),
        ("DELETE", none(HOOKS), None),
        ("DELETE", none(JOBS), None),
        ("DELETE", none(DEFINITIONS), None),
        ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/plexd".into(), Some(&empty)),
    ];
    for (method, path, body) in &has {
        if let Some(why) = ground.forbidden(&token, (method, path), *body).await? {
            return Err(Failure::expected(format!("{method} {path} let through"), why));
        }
    }
    for (method, path, body) in &lacks {
        if ground.forbidden(&token, (method, path), *body).await?.is_none() {
            return Err(Failure::expected(format!("403 for {method} {path}"), "it was let through"));
        }
    }
    Ok(format!("{} requests let through, {} refused with 403", has.len(), lacks.len()))
}

pub async fn rights(ground: &Ground) -> Result<(), Failure> {
    match tried(ground).await {
        Ok(text) => ground.ledger.pass("rbac.tried", text),
        Err(failure) => {
            let expected = failure.expected.clone().unwrap_or_else(|| "an answer".into());
            ground.ledger.fail("rbac.tried", expected, failure.seen, "with a token of the agent's account");
        }
    }
    let ledger = &ground.ledger;
    let agent = "system:serviceaccount:plexd-system:plexd";
    let (mut lacking, mut excess) = (Vec::new(), Vec::new());
    let nothing: &[&str] = &[];
    let others = OTHERS.iter().map(|(group, resource)| (*group, *resource, nothing));
    for (group, resource, verbs) in RIGHTS.iter().copied().chain(others) {
        for verb in VERBS {
            match (verbs.contains(&verb), may(ground, agent, group, resource, verb).await?) {
                (true, false) => lacking.push(format!("{verb} {resource}")),
                (false, true) => excess.push(format!("{verb} {resource}")),
                _ => {}
            }
        }
    }
    let how = "SubjectAccessReview of system:serviceaccount:plexd-system:plexd";
    if lacking.is_empty() {
        ledger.pass("rbac.granted", how);
    } else {
        ledger.fail("rbac.granted", "every right of the table", format!("not {}", lacking.join(", ")), how);
    }
    if excess.is_empty() {
        ledger.pass("rbac.no-more", how);
    } else {
        ledger.fail("rbac.no-more", "no other right", excess.join(", "), how);
    }
    let mut wrong = Vec::new();
    for (role, group, resource, verbs) in CONSUMERS {
        let user = format!("conformance:{role}");
        let binding = json!({
            "metadata": {"name": format!("conformance-{role}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        ground.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await?;
        // A real API server's authorizer hears of a binding a moment later. One that never counts is judged below.
        let _ = eventually("a role to count", WITHIN, || async {
            match may(ground, &user, group, resource, verbs.first().unwrap_or(&"get")).await {
                Ok(true) => Check::Done(()),
                Ok(false) => Check::NotYet("it does not yet".to_owned()),
                Err(failure) => Check::NotYet(failure.seen),
            }
        })
        .await;
        for (other_group, other, _) in RIGHTS {
            for verb in VERBS {
                let wanted = other_group == group && other == resource && verbs.contains(&verb);
                if may(ground, &user, other_group, other, verb).await? != wanted {
                    wrong.push(format!("{role}: {verb} {other}"));
                }
            }
        }
    }
    if wrong.is_empty() {
        ledger.pass("rbac.consumers", "SubjectAccessReview of a user with each role");
    } else {
        ledger.fail(
            "rbac.consumers",
            "the table's rights and no others",
            wrong.join(", "),
            "SubjectAccessReview",
        );
    }
    Ok(())
}
