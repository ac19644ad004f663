//! A Node that is deregistered while its agent runs: by the owner, who deletes its Resource, and by somebody on the node.

use plexlab_harness::run::{Failure, Run};

use super::keys::goes_on_refused;
use super::life::Life;
use super::words;

/// Runs the scenario.
///
/// # Errors
/// When the Node stays in the mesh, or the agent does otherwise than recorded.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let life = Life::begin(run).await?;
    let (owner, customer) = (life.adoption.owner, life.adoption.customer);
    let delete = async { Ok(life.adoption.plexsphere.delete_resource(life.resource).await?) };
    let status = owner.step("delete the adopted Resource while its agent runs", delete).await?;
    owner.saw(format!("{status}, though the Node was alive"));
    left_the_mesh(&life).await?;
    goes_on_refused(&life).await?;
    let former = life.resource;
    let life = life.readmit().await?;
    if life.resource == former {
        return Err(Failure::expected("a Resource of its own", "the one that was deleted"));
    }

    // What it cannot remove is the directory itself, which is a mount: the files are gone by then.
    let tool = async {
        let arguments = ["deregister", "--purge", "--config", "/etc/plexd/config.yaml"];
        let (code, said) = life.adoption.cluster.run_beside(&life.pod, &arguments).await?;
        let left = life.adoption.cluster.on_its_node(&life.pod, "ls -A /var/lib/plexd").await?;
        if left.contains("identity.json") {
            let seen = format!("exit code {code}: {said}; left: {left}");
            return Err(Failure::expected("no identity on the node", seen));
        }
        Ok(format!("exit code {code}: {said}"))
    };
    let said = customer.step("run `plexd deregister --purge` beside the agent", tool).await?;
    customer.saw(said.trim().replace('\n', "; "));
    left_the_mesh(&life).await?;
    let refused = life.adoption.cluster.wait_log(&life.pod, words::NOT_RELOADED);
    let line =
        customer.step("see the running agent, which was not told, refused and without an identity", refused);
    customer.saw(line.await?);
    owner.step("see it ask on", life.beats(401, 1)).await?;
    customer.step("see the same pod and the same Node", life.same_pod_and_node()).await?;
    life.readmit().await.map(drop)
}

async fn left_the_mesh(life: &Life<'_>) -> Result<(), Failure> {
    let check = async {
        let row = life.nodes().await?.into_iter().find(|row| row.id == life.node);
        match row {
            // With its Resource the row may go, too.
            None => Ok("its row is gone".to_owned()),
            Some(row) if row.left_mesh && row.peers == 0 => Ok("deregistered, no peers".to_owned()),
            Some(row) => Err(Failure::expected("a Node that left the mesh", format!("{row:?}"))),
        }
    };
    let seen = life.adoption.owner.step("find the Node out of the mesh, by SQL", check).await?;
    life.adoption.owner.saw(seen);
    Ok(())
}
