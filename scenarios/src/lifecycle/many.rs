//! Many Resources at once, while the control plane is killed again and again.
//!
//! The kills fall between the requests, so some answers are lost, and a declaration has no key that would make it
//! the same one when it is sent again (contract: control plane, 9). What was made without anybody hearing of it is
//! found in the Projects' lists, counts like the others, and goes the same way.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, eventually};
use tokio::sync::watch;
use uuid::Uuid;

use super::ground::Ground;
use super::outage::{Outage, answering};
use super::witness::LIFE;
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
    let numbered = stream::iter(0..resources());
    let declare = numbered.map(|number| ground.provision(projects[number / OF_PROJECT]));
    let step = format!("declare {} Resources in {} Projects", resources(), projects.len());
    let declared = under_kills(&ground, &step, declare).await?;
    let heard: BTreeSet<Uuid> = declared.iter().map(|resource| resource.id).collect();
    if heard.len() != resources() {
        return Err(Failure::expected(format!("{} different ids", resources()), format!("{}", heard.len())));
    }

    let list = async {
        let mut all = BTreeSet::new();
        for project in &projects {
            let listed = ground.resources(*project).await?;
            all.extend(listed.into_iter().map(|resource| resource.id));
        }
        match heard.difference(&all).next() {
            None => Ok(all),
            Some(lost) => Err(Failure::expected(
                "every accepted Resource in its Project's list",
                format!("{lost} is in none"),
            )),
        }
    };
    let step = "find them all in the Projects' lists, and those whose answer was lost";
    let all = ground.owner.step(step, list).await?;
    until_all(&ground, "Ready", all.len()).await?;

    let delete = stream::iter(&all).map(|resource| ground.delete(*resource));
    under_kills(&ground, "delete them all", delete).await?;
    until_all(&ground, "Deleted", all.len()).await?;
    let lives = async {
        for resource in &all {
            let rows = moved_legally(&ground.history.moves(*resource).await?)?;
            let rows: Vec<&str> = rows.iter().map(|phase| phase.as_str()).collect();
            if rows != LIFE {
                return Err(Failure::expected(format!("{LIFE:?}"), format!("{rows:?}")));
            }
            let nodes = ground.history.nodes(*resource).await?.len();
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

/// Does all of this, some at once, and kills the control plane each time that so many more are done.
async fn under_kills<T>(
    ground: &Ground<'_>,
    step: &str,
    work: impl futures::Stream<Item = impl Future<Output = Result<T, Failure>>>,
) -> Result<Vec<T>, Failure> {
    let kills = resources().div_ceil(RESOURCES_OF_A_KILL);
    let (progress, done) = watch::channel(0_usize);
    let work = async {
        // Dropped at the end, whatever the end is: the kills must not wait for more.
        let progress = progress;
        let counted = work.buffer_unordered(AT_ONCE).inspect_ok(|_| progress.send_modify(|done| *done += 1));
        counted.try_collect::<Vec<T>>().await
    };
    let kill = async {
        let mut done = done;
        for number in 0..kills {
            let due = number * RESOURCES_OF_A_KILL;
            if done.wait_for(|done| *done > due).await.is_err() {
                break;
            }
            Outage::ControlPlane.happen(ground).await?;
        }
        Ok::<_, Failure>(())
    };
    let both = async {
        let (worked, killed) = tokio::join!(work, kill);
        killed?;
        answering(ground).await?;
        worked
    };
    ground.owner.step(&format!("{step}, with {kills} kills of the control plane meanwhile"), both).await
}

/// Waits until this many Resources, which are all that there are, are in this phase.
async fn until_all(ground: &Ground<'_>, phase: &str, count: usize) -> Result<(), Failure> {
    let arrive = async {
        let all = eventually(format!("all Resources {phase}"), limit(), || async {
            match ground.history.phases().await {
                Ok(phases) if is_all(&phases, phase, count) => Check::Done(()),
                Ok(phases) => Check::NotYet(format!("{phases:?}")),
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        all.await.map_err(Failure::from)
    };
    ground.owner.step(&format!("see all {count} of them {phase}"), arrive).await
}

fn is_all(phases: &[(String, i64)], phase: &str, count: usize) -> bool {
    matches!(phases, [(name, there)] if name == phase && usize::try_from(*there) == Ok(count))
}
