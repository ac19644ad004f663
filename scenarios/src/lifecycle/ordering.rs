//! A life through every phase, with a part of the stack taken away in each of them.

use plexlab_harness::run::{Failure, Run};

use super::ground::Ground;
use super::outage::{Outage, answering, crossplanes};
use super::witness::{LIFE, Witness};
use super::{hold, teardown};

/// Runs the scenario.
///
/// # Errors
/// When a phase is left out, comes twice, or a move is illegal.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let ground = Ground::prepare(run).await?;
    for outage in Outage::ALL {
        life_under(&ground, outage).await?;
    }
    // The moves that a life without mishaps does not have.
    teardown::early_ends(&ground, "early").await
}

/// Holds the Resource in each phase while the outage happens; both witnesses see it there before and after.
async fn life_under(ground: &Ground<'_>, outage: Outage) -> Result<(), Failure> {
    let project = ground.another_project(outage.name()).await?;
    let name = |what: &str| format!("{what} ({})", outage.name());
    let owner = ground.owner;

    let begin = async {
        hold::namespace_ending(ground, project).await?;
        ground.provision(project).await
    };
    let resource = owner.step(&name("declare a Resource whose namespace cannot be made yet"), begin).await?;
    let witness = Witness::of(ground, resource.id);
    let through = async |phase: &'static str| {
        let through = async {
            witness.until(ground, phase).await?;
            outage.happen(ground).await?;
            // A restart of the control plane lifts its own switch: then it is on its way already.
            if (phase, outage) != ("Deregistering", Outage::ControlPlane) {
                witness.until(ground, phase).await?;
            }
            Ok(())
        };
        ground.operator.step(&name(&format!("an outage while {phase}")), through).await
    };

    through("Pending").await?;
    crossplanes(ground, 0).await?;
    hold::release_namespace(ground, project).await?;
    witness.until(ground, "Provisioning").await?;
    hold::crossplane_paused(ground, &resource, true).await?;
    crossplanes(ground, 1).await?;
    through("Provisioning").await?;
    hold::no_pods(ground).await?;
    hold::crossplane_paused(ground, &resource, false).await?;
    let enrolling = async {
        witness.until(ground, "Enrolling").await?;
        let killed = outage.begin(ground).await?;
        // What was killed needs a node, as the Job does: both start together.
        hold::pods_again(ground).await?;
        outage.end(ground, &killed).await
    };
    ground.operator.step(&name("an outage while Enrolling"), enrolling).await?;
    through("Ready").await?;

    hold::composite(ground, &resource, true).await?;
    hold::drains(ground, true).await?;
    let delete = async { ground.delete(resource.id).await };
    owner.step(&name("delete the Resource"), delete).await?;
    through("Deregistering").await?;
    answering(ground).await?;
    hold::drains(ground, false).await?;
    through("Deprovisioning").await?;
    hold::composite(ground, &resource, false).await?;
    let end = async {
        witness.until(ground, "Deleted").await?;
        ground.until_nothing_remains(project).await
    };
    owner.step(&name("see it Deleted and nothing left"), end).await?;
    let account = witness.expect(ground, &LIFE);
    ground.operator.step(&name("hear the same life from both witnesses"), account).await
}
