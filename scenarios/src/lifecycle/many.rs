//! Many Resources at once, while the control plane is killed again and again.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, eventually};

use super::ground::Ground;
use super::outage::{Outage, answering};
use super::witness::LIFE;
use crate::clients::plexsphere::resources::Resource;
use crate::provisioning::phase::moved_legally;

/// How many, when the environment does not say: fewer than make anybody wait.
const RESOURCES: usize = 20;
/// The environment's word.
const VARIABLE: &str = "PLEXLAB_RESOURCES";
/// Resources of a Project: its namespace's quota allows 20 pods at once, and what is beyond waits for them.
const OF_PROJECT: usize = 20;
/// Requests at the same time.
const AT_ONCE: usize = 8;
/// Kills: one for so many Resources, on the way up and on the way down each.
const RESOURCES_OF_A_KILL: usize = 20;

/// How many Resources are provisioned: what `PLEXLAB_RESOURCES` says, or 20.
pub fn resources() -> usize {
    let said = std::env::var(VARIABLE).ok().and_then(|text| text.parse::<NonZeroUsize>().ok());
    said.map_or(RESOURCES, NonZeroUsize::get)
}

/// How long they may take, all together.
pub fn limit() -> Duration {
    Duration::from_secs(120) + Duration::from_secs(3) * u32::try_from(resources()).unwrap_or(u32::MAX)
}

/// Runs the scenario.
///
/// # Errors
/// When a Resource is lost, takes an illegal way, or leaves something.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let ground = Ground::prepare(run).await?;
    let mut projects = vec![ground.project];
    while projects.len() * OF_PROJECT < resources() {
        projects.push(ground.another_project(&format!("machines-{}", projects.len())).await?);
    }
    let declare = async {
        let declared = stream::iter(0..resources())
            .map(|number| ground.provision(projects[number / OF_PROJECT]))
            .buffer_unordered(AT_ONCE);
        declared.try_collect::<Vec<Resource>>().await
    };
    let step = format!("declare {} Resources in {} Projects", resources(), projects.len());
    let declared = ground.owner.step(&step, declare).await?;
    under_kills(&ground, "Ready", &declared).await?;

    let delete = async {
        let deleted =
            stream::iter(&declared).map(|resource| ground.delete(resource.id)).buffer_unordered(AT_ONCE);
        deleted.try_collect::<Vec<()>>().await
    };
    ground.owner.step("delete them all", delete).await?;
    under_kills(&ground, "Deleted", &declared).await?;
    let lives = async {
        for resource in &declared {
            let rows = moved_legally(&ground.history.moves(resource.id).await?)?;
            let rows: Vec<&str> = rows.iter().map(|phase| phase.as_str()).collect();
            if rows != LIFE {
                return Err(Failure::expected(format!("{LIFE:?}"), format!("{rows:?}")));
            }
            let nodes = ground.history.nodes(resource.id).await?.len();
            if nodes != 1 {
                return Err(Failure::expected("one Node for one Resource", nodes.to_string()));
            }
        }
        Ok(())
    };
    ground.operator.step("find the same legal life in every Resource's rows", lives).await?;
    let nothing = async {
        for project in &projects {
            ground.until_nothing_remains(*project).await?;
        }
        Ok(())
    };
    ground.owner.step("find nothing left in any namespace", nothing).await
}

/// Waits until all are in this phase; kills the control plane meanwhile.
async fn under_kills(ground: &Ground<'_>, phase: &str, declared: &[Resource]) -> Result<(), Failure> {
    let arrive = async {
        let all = eventually(format!("all Resources {phase}"), limit(), || async {
            match ground.history.phases().await {
                Ok(phases) => {
                    let there = phases.iter().find(|(name, _)| name == phase).map_or(0, |(_, count)| *count);
                    if usize::try_from(there).is_ok_and(|there| there == declared.len()) {
                        Check::Done(())
                    } else {
                        Check::NotYet(format!("{phases:?}"))
                    }
                }
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        all.await.map_err(Failure::from)
    };
    let kills = declared.len().div_ceil(RESOURCES_OF_A_KILL);
    let kill = async {
        for _ in 0..kills {
            Outage::ControlPlane.happen(ground).await?;
        }
        Ok::<_, Failure>(())
    };
    let step = format!("see them all {phase}, with {kills} kills of the control plane meanwhile");
    let both = async {
        let (arrived, killed) = tokio::join!(arrive, kill);
        killed?;
        arrived?;
        answering(ground).await
    };
    ground.owner.step(&step, both).await
}
