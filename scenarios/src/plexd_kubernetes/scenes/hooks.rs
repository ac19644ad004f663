//! Hooks, and the Jobs that they become.

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, consistently, eventually};
use serde_json::{Value, json};

use crate::plexd_kubernetes::agent::{Account, Agent, POD, Setup};
use crate::plexd_kubernetes::api_proxy::{ApiProxy, Refusal};
use crate::plexd_kubernetes::ground::{GROUP, Ground, MEANWHILE, WITHIN};
use crate::plexd_kubernetes::hands::JobPrograms;

const NAMESPACE: &str = "k-hooks";

async fn hook(ground: &Ground, name: &str, command: &[&str], privileged: bool) -> Result<Value, Failure> {
    let object = json!({
        "apiVersion": "plexd.plexsphere.com/v1alpha1", "kind": "PlexdHook", "metadata": {"name": name},
        "spec": {"hookName": name, "jobTemplate": {"image": ground.hands.job_programs().image, "command": command},
                 "parameters": [{"name": "bucket", "value": "s3://backups"}], "privileged": privileged},
    });
    ground.create(&format!("{GROUP}/namespaces/{NAMESPACE}/plexdhooks"), &object).await
}

/// Waits for the Job of a hook, by name as far as that tells.
async fn job(ground: &Ground, hook: &str) -> Result<Value, Failure> {
    let list = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs");
    let of = |list: &Value| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|job| job["metadata"]["name"].as_str().is_some_and(|name| name.contains(hook)))
    };
    let found = ground.until(&format!("the Job of hook {hook}"), &list, |list| of(list).is_some()).await?;
    Ok(of(&found).unwrap_or_default())
}

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let proxy = ground.proxy().await?;
    let setup = Setup::new(NAMESPACE, Account::Behind(&proxy)).kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, |_| {}).await?;
    agent.registered().await?;
    let pod = ground.find(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{POD}")).await?.unwrap_or_default();
    let JobPrograms { succeeds, fails, .. } = ground.hands.job_programs();
    let made = hook(ground, "backup", succeeds, false).await?;
    let found = match job(ground, "backup").await {
        Ok(found) => found,
        Err(failure) => {
            ledger.fail("hook.job", "a Job", &failure.seen, &agent.evidence().await);
            return Err(failure);
        }
    };
    ledger.pass("hook.job", found["metadata"]["name"].to_string());
    details(ground, &agent, &made, &found, &pod["spec"]["nodeName"]).await;
    hook(ground, "broken", fails, false).await?;
    hook(ground, "host", succeeds, true).await?;
    let evidence = agent.evidence().await;

    let spec = &found["spec"]["template"]["spec"];
    let host = job(ground, "host").await?;
    let host = &host["spec"]["template"]["spec"];
    let plain = spec["containers"][0]["securityContext"]["privileged"] != true && spec["hostPID"] != true;
    let raised = host["containers"][0]["securityContext"]["privileged"] == true;
    if plain && raised {
        ledger.pass("hook.privileged", "privileged exactly when the hook is");
    } else {
        let seen = format!("privileged without being so: {}; when it is: {raised}", !plain);
        ledger.fail("hook.privileged", "privileged exactly when the hook is", seen, &evidence);
    }
    job(ground, "broken").await?;
    // On a busy machine an agent asks twice for a Job by itself: who takes that for a failure has no status to judge.
    exists(ground, &agent, &proxy).await?;
    let path = |name: &str| format!("{GROUP}/namespaces/{NAMESPACE}/plexdhooks/{name}");
    let ended = |phase: &'static str| move |hook: &Value| hook["status"]["phase"] == phase;
    let good = ground.until("phase Succeeded", &path("backup"), ended("Succeeded")).await;
    let bad = ground.until("phase Failed", &path("broken"), ended("Failed")).await;
    match (good, bad) {
        (Ok(good), Ok(bad)) if good["status"]["jobName"] == found["metadata"]["name"] => {
            ledger.pass("hook.status", format!("{} {}", good["status"], bad["status"]));
        }
        (Ok(good), Ok(_)) => {
            ledger.fail("hook.status", "the Job's name", good["status"].to_string(), &evidence);
        }
        (Err(failure), _) | (_, Err(failure)) => {
            let evidence = agent.evidence().await;
            ledger.fail("hook.status", "Succeeded and Failed, as the Jobs ended", failure.seen, &evidence);
        }
    }
    Ok(())
}

/// The Job was made before, perhaps by an earlier start.
async fn exists(ground: &Ground, agent: &Agent<'_>, proxy: &ApiProxy) -> Result<(), Failure> {
    let reason = "AlreadyExists";
    proxy.refuse(&[Refusal { method: "POST", part: "/jobs", code: 409, reason, times: u32::MAX }]);
    hook(ground, "again", ground.hands.job_programs().succeeds, false).await?;
    let path = format!("{GROUP}/namespaces/{NAMESPACE}/plexdhooks/again");
    let outcome = async {
        eventually("a Job asked for", WITHIN, || async {
            let asked = proxy.asked().into_iter();
            match asked
                .filter(|one| one.is("POST", "/jobs"))
                .any(|one| one.body.to_string().contains("again"))
            {
                true => Check::Done(()),
                false => Check::NotYet("not that one".into()),
            }
        })
        .await?;
        let quiet = consistently("no failure of the hook", MEANWHILE, || async {
            let hook = ground.find(&path).await.ok().flatten().unwrap_or_default();
            let failed = hook["status"]["phase"] == "Failed";
            failed.then(|| hook["status"].to_string())
        });
        Ok::<_, Failure>(quiet.await?)
    };
    match outcome.await {
        Ok(()) => ground.ledger.pass("client.job-exists", "asked for, answered with 409, and no failure"),
        Err(failure) => {
            let evidence = agent.evidence().await;
            ground.ledger.fail("client.job-exists", "a hook that has not failed", failure.seen, &evidence);
        }
    }
    Ok(())
}

async fn details(ground: &Ground, agent: &Agent<'_>, hook: &Value, job: &Value, node: &Value) {
    let spec = &job["spec"]["template"]["spec"];
    let owner = &job["metadata"]["ownerReferences"][0];
    let container = &spec["containers"][0];
    let parameter = json!({"name": "PLEXD_PARAM_BUCKET", "value": "s3://backups"});
    let given = container["env"].as_array().is_some_and(|env| env.contains(&parameter));
    let checks = [
        ("hook.owner", "the hook as its owner", owner["uid"] == hook["metadata"]["uid"], owner.to_string()),
        (
            "hook.node",
            "the agent's node",
            spec["nodeSelector"]["kubernetes.io/hostname"] == *node,
            spec["nodeSelector"].to_string(),
        ),
        (
            "hook.no-restart",
            "restartPolicy Never",
            spec["restartPolicy"] == "Never",
            spec["restartPolicy"].to_string(),
        ),
        ("hook.parameters", "PLEXD_PARAM_BUCKET", given, container["env"].to_string()),
    ];
    for (id, expected, holds, seen) in checks {
        if holds {
            ground.ledger.pass(id, seen);
        } else {
            ground.ledger.fail(id, expected, seen, &agent.evidence().await);
        }
    }
}
