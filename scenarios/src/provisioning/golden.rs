//! The whole tutorial, both ways, with what it leaves in the cluster, the mesh and the database at each stage.

use std::net::IpAddr;
use std::time::Duration;

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, consistently, eventually};
use reqwest::StatusCode;
use uuid::Uuid;

use super::flow::{BLUEPRINT, CLOUD, Flow, in_state, not_authorised, phase_of, refused};
use super::parties::Parties;
use super::phase::{Phase, listed, moved_legally, seen_legally, subsequence};
use super::substrate::Composite;
use crate::clients::cluster::SOON;

/// How long the substrate is seen to stay while its Node cannot leave the mesh.
const HELD: Duration = Duration::from_secs(1);

/// Runs the scenario.
///
/// # Errors
/// When a claim of the tutorial does not hold.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let parties = Parties::signed_in(run).await?;
    two_people(&parties).await?;
    let flow = Flow::prepare(parties, "provision-demo").await?;
    let owner = flow.owner();

    let early = async { not_authorised(owner.api.create_resource(flow.project, flow.ingredients).await) };
    owner.party.step("be refused a Resource before the approval", early).await?;
    approval(&flow).await?;

    let resource = flow.create().await?.id;
    let watch = flow.watch("watcher", resource);
    flow.wait(resource, Phase::Ready).await?;
    let node = up(&flow, resource).await?;

    down(&flow, resource).await?;
    let seen = async {
        let seen = watch.stop().await?;
        let whole: Vec<Phase> = Phase::UP.into_iter().chain(Phase::DOWN).collect();
        subsequence(&seen.phases, &whole)?;
        seen_legally(&seen.phases)?;
        seen.substrate_follows_phase()?;
        let moves = flow.database().await?.phase_moves(resource).await?;
        let moved = moved_legally(&moves)?;
        if moved == whole { Ok(()) } else { Err(Failure::expected(listed(&whole), listed(&moved))) }
    };
    owner.party.step("see every phase in its order, and the substrate with them", seen).await?;
    gone(&flow, resource, node).await
}

/// The two sessions are of different people, and the owner may not read the platform's catalog.
async fn two_people(parties: &Parties<'_>) -> Result<(), Failure> {
    let (operator, owner) = (&parties.operator, &parties.owner);
    let differ = async {
        let (one, other) = (operator.api.whoami().await?, owner.api.whoami().await?);
        if one.subject != other.subject {
            return Ok(());
        }
        Err(Failure::expected("two subjects", one.subject))
    };
    operator.party.step("compare who both parties are", differ).await?;
    let catalog = async {
        refused(owner.api.cloud(CLOUD).await, StatusCode::FORBIDDEN, &["permission_denied"])?;
        refused(owner.api.blueprint(BLUEPRINT).await, StatusCode::FORBIDDEN, &["permission_denied"]).map(drop)
    };
    owner.party.step("be refused the platform's catalog", catalog).await
}

/// Request and approval, with the refusals around them.
async fn approval(flow: &Flow<'_>) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let assignment = flow.request().await?.id;
    let again = async {
        let again = owner.api.request_assignment(flow.project, flow.ingredients.cloud_credential).await;
        refused(again, StatusCode::CONFLICT, &["duplicate_live_assignment"]).map(drop)
    };
    owner.party.step("be refused a second request", again).await?;
    let own = async {
        let codes = ["self_approval_denied", "permission_denied"];
        let own = owner.api.approve_assignment(assignment).await;
        refused(own, StatusCode::FORBIDDEN, &codes).map(drop)
    };
    owner.party.step("be refused to approve the own request", own).await?;
    let listed = async {
        let all = operator.api.assignments(flow.project).await?;
        match all.as_slice() {
            [one] if one.id == assignment => in_state(one.clone(), "requested", false).map(drop),
            other => Err(Failure::expected("the one request", format!("{other:?}"))),
        }
    };
    operator.party.step("list what waits", listed).await?;
    flow.approve(assignment).await?;
    let twice = async {
        let twice = operator.api.approve_assignment(assignment).await;
        refused(twice, StatusCode::CONFLICT, &["illegal_transition"]).map(drop)
    };
    operator.party.step("be refused to approve it twice", twice).await
}

/// What a Resource that is Ready has: its place in the cluster, its substrate, one Node in the mesh, one spent token.
async fn up(flow: &Flow<'_>, resource: Uuid) -> Result<Uuid, Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let place = async {
        let (place, namespace) = (operator.api.place(flow.project).await?, flow.substrate.namespace());
        if (place.namespace_name.as_str(), place.namespace_phase.as_str()) != (namespace.as_str(), "Ready") {
            return Err(Failure::expected(format!("{namespace} Ready"), format!("{place:?}")));
        }
        let lacks = flow.substrate.lacks().await?;
        if lacks.is_empty() {
            Ok(())
        } else {
            Err(Failure::expected("a complete namespace", lacks.join(", ")))
        }
    };
    operator.party.step("find the Project's namespace with quota and rights", place).await?;
    let substrate = async {
        let Some(composite) = flow.substrate.composite(resource).await? else {
            return Err(Failure::expected("a Composite Resource", "none"));
        };
        let name = composite.metadata.name.unwrap_or_default();
        let objects = flow.substrate.objects().await?;
        for expected in [
            format!("XKubernetesCloudlessNode/{name}"),
            format!("ProviderConfig/{name}"),
            format!("ConfigMap/{name}-substrate"),
            format!("Job/{name}-enrol"),
        ] {
            if !objects.contains(&expected) {
                return Err(Failure::expected(expected, objects.join(", ")));
            }
        }
        Ok(())
    };
    operator.party.step("find the substrate in it", substrate).await?;
    let node = async {
        let nodes = flow.database().await?.nodes_of(resource).await?;
        let [node] = nodes.as_slice() else {
            return Err(Failure::expected("one Node", format!("{nodes:?}")));
        };
        if node.left_mesh || node.peers != 1 || node.mesh_ip.parse::<IpAddr>().is_err() {
            return Err(Failure::expected("a Node with an address and a peer", format!("{node:?}")));
        }
        let listed = owner.api.nodes().await?;
        if listed.iter().any(|other| other["id"] == node.id.to_string()) {
            return Ok(node.id);
        }
        Err(Failure::expected("the Node in the list of Nodes", format!("{} others", listed.len())))
    };
    let node = owner.party.step("find one Node with one address and one peer", node).await?;
    let token = async {
        let tokens = owner.api.tokens(flow.project).await?;
        let spent = |token: &crate::clients::plexsphere::TokenMetadata| {
            token.consumed_at.is_some() && token.revoked_at.is_none()
        };
        match tokens.as_slice() {
            [token] if spent(token) => Ok(()),
            other => Err(Failure::expected("one token, consumed", format!("{other:?}"))),
        }
    };
    owner.party.step("find the broker's token consumed", token).await?;
    Ok(node)
}

/// The teardown. Its Node is kept from leaving for a while, and the substrate stays as long.
async fn down(flow: &Flow<'_>, resource: Uuid) -> Result<(), Failure> {
    let owner = flow.owner();
    let hold = async {
        let held = flow.database().await?.hold_nodes(resource).await?;
        if held.count == 1 { Ok(held) } else { Err(Failure::expected("one Node", held.count.to_string())) }
    };
    let held = owner.party.step("keep the Node in the mesh", hold).await?;
    flow.delete(resource).await?;
    flow.wait(resource, Phase::Deregistering).await?;
    let stays = async {
        let look = || async {
            let phase = match owner.api.resource(resource).await {
                Ok(resource) => {
                    phase_of(&resource).map_or_else(|failure| failure.seen, |phase| phase.to_string())
                }
                Err(error) => error.to_string(),
            };
            let composite = flow.substrate.look(resource).await;
            let stays = matches!(composite, Ok(Composite::Present { deleting: false }));
            (!stays || phase != "Deregistering").then(|| format!("{phase}, {composite:?}"))
        };
        Ok(consistently("the substrate to stay while its Node is in the mesh", HELD, look).await?)
    };
    owner.party.step("see the substrate stay as long as the Node", stays).await?;
    owner.party.step("let the Node leave", async { Ok(held.release().await?) }).await?;
    flow.wait(resource, Phase::Deleted).await?;
    Ok(())
}

/// Nothing is left of it but its record, and a second DELETE changes nothing.
async fn gone(flow: &Flow<'_>, resource: Uuid, node: Uuid) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let left = async {
        let nodes = flow.database().await?.nodes_of(resource).await?;
        match nodes.as_slice() {
            [row] if row.id == node && row.left_mesh && row.peers == 0 => Ok(()),
            other => Err(Failure::expected("the one Node, out of the mesh", format!("{other:?}"))),
        }
    };
    owner.party.step("find the Node out of the mesh", left).await?;
    let objects = async {
        let gone = eventually("nothing of the Resource in the namespace", SOON, || async {
            match flow.substrate.objects().await {
                Ok(objects) if objects.is_empty() => Check::Done(()),
                Ok(objects) => Check::NotYet(objects.join(", ")),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(gone.await?)
    };
    operator.party.step("find nothing of it in the namespace", objects).await?;
    flow.delete(resource).await?;
    let last = async {
        match phase_of(&owner.api.resource(resource).await?)? {
            Phase::Deleted => Ok(()),
            other => Err(Failure::expected("phase Deleted", other.as_str())),
        }
    };
    owner.party.step("read the Resource, which stays Deleted", last).await
}
