//! An API server that refuses: what the agent says, and that it goes on.

use plexlab_harness::run::Failure;
use serde_json::json;

use crate::plexd_kubernetes::agent::{Account, Setup};
use crate::plexd_kubernetes::api_proxy::Refusal;
use crate::plexd_kubernetes::ground::Ground;

const STATES: &str = "/plexdnodestates";

pub async fn play(ground: &Ground) -> Result<(), Failure> {
    let ledger = &ground.ledger;
    let proxy = ground.proxy().await?;
    let refusal = |method, code, reason| Refusal { method, part: STATES, code, reason, times: u32::MAX };
    let both = |code, reason| [refusal("GET", code, reason), refusal("POST", code, reason)];
    // As when the definition is not there.
    proxy.refuse(&both(404, "NotFound"));
    let setup =
        Setup::new("k-refused", Account::Behind(&proxy)).kubernetes(json!({"crd_sync_interval": "1s"}));
    let agent = ground.agent(setup, |_| {}).await?;
    let node = agent.registered().await?;
    let judge =
        async |id: &'static str, text: &str| match agent.logged(text, |line| line.contains(text)).await {
            Ok(line) => ledger.pass(id, line),
            Err(failure) => ledger.fail(id, text, failure.seen, &agent.evidence().await),
        };
    judge("client.not-found", "kubernetes: resource not found").await;
    proxy.refuse(&both(401, "Unauthorized"));
    judge("client.unauthorized", "kubernetes: unauthorized").await;
    // Somebody else makes it between the look and the creation.
    let object = json!({
        "apiVersion": "plexd.plexsphere.com/v1alpha1", "kind": "PlexdNodeState",
        "metadata": {"name": format!("node-{node}")}, "spec": {"nodeId": "somebody-else"},
    });
    ground
        .create("/apis/plexd.plexsphere.com/v1alpha1/namespaces/k-refused/plexdnodestates", &object)
        .await?;
    proxy.refuse(&[Refusal { times: 1, ..refusal("GET", 404, "NotFound") }]);
    let path = agent.state(&node);
    let own = |state: &serde_json::Value| state["spec"]["nodeId"] != "somebody-else";
    match ground.until("the resource to be the agent's", &path, own).await {
        Ok(state) => {
            ledger.pass("client.retry", "the resource was written once the API server let it");
            let log = agent.log().await;
            match log.lines().find(|line| line.contains("level=ERROR") && line.contains("already exists")) {
                None => ledger.pass("client.already-exists", state["spec"].to_string()),
                Some(line) => {
                    ledger.fail("client.already-exists", "no failure", line, &agent.evidence().await)
                }
            }
        }
        Err(failure) => {
            let evidence = agent.evidence().await;
            for id in ["client.retry", "client.already-exists"] {
                ledger.fail(id, "an updated resource", &failure.seen, &evidence);
            }
        }
    }
    Ok(())
}
