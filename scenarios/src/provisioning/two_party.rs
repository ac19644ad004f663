//! Who may decide what: nobody approves what they asked for, strangers decide nothing, and every decision is made once,
//! whether by the assignment's own endpoints or by the approvals queue.

use plexlab_harness::run::{Failure, Run};
use reqwest::StatusCode;
use uuid::Uuid;

use super::flow::{Flow, in_state, not_authorised, refused};
use super::parties::{Actor, Parties, after_a_moment};
use super::phase::Phase;
use crate::clients::plexsphere::assignments::{Approval, Assignment};

/// Why somebody decides so, in this scenario.
const REASON: &str = "not this quarter";

/// Runs the scenario.
///
/// # Errors
/// When somebody may decide who must not, or may not who must.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let flow = Flow::prepare(Parties::with_tokens(run)?, "two-parties").await?;
    let stranger = flow.parties.stranger().await?;

    let first = flow.request().await?.id;
    nobody_else_decides(&flow, &stranger, first).await?;
    rejected(&flow, first).await?;

    let second = flow.request().await?.id;
    if second == first {
        return Err(Failure::expected("a new assignment", second.to_string()));
    }
    approved_once(&flow, second).await?;
    revoked_meanwhile(&flow, second).await?;
    not_even_with_the_right_to(&flow).await
}

/// Neither who asked nor a stranger decides, in either way; the request stays as it is.
async fn nobody_else_decides(flow: &Flow<'_>, stranger: &Actor<'_>, id: Uuid) -> Result<(), Failure> {
    let (owner, credential) = (flow.owner(), flow.ingredients.cloud_credential);
    let own = async {
        let codes = ["self_approval_denied", "permission_denied"];
        refused(owner.api.approve_assignment(id).await, StatusCode::FORBIDDEN, &codes)?;
        refused(owner.api.approve(id).await, StatusCode::FORBIDDEN, &codes)?;
        Ok(())
    };
    owner.party.step("be refused to approve the own request, in both ways", own).await?;
    let foreign = async {
        let (api, denied) = (&stranger.api, ["permission_denied"]);
        refused(api.approve_assignment(id).await, StatusCode::FORBIDDEN, &denied)?;
        refused(api.reject_assignment(id, REASON).await, StatusCode::FORBIDDEN, &denied)?;
        refused(api.revoke_assignment(id, REASON).await, StatusCode::FORBIDDEN, &denied)?;
        refused(api.approve(id).await, StatusCode::FORBIDDEN, &denied)?;
        refused(api.reject(id, REASON).await, StatusCode::FORBIDDEN, &denied)?;
        refused(api.approval(id).await, StatusCode::FORBIDDEN, &denied)?;
        refused(api.assignments(flow.project).await, StatusCode::FORBIDDEN, &denied)?;
        refused(api.request_assignment(flow.project, credential).await, StatusCode::FORBIDDEN, &denied)?;
        let queue = api.pending_approvals().await?;
        if queue.is_empty() { Ok(()) } else { Err(Failure::expected("an empty queue", format!("{queue:?}"))) }
    };
    stranger.party.step("be refused every decision, and see nothing", foreign).await?;
    let again = async {
        let again = owner.api.request_assignment(flow.project, credential).await;
        refused(again, StatusCode::CONFLICT, &["duplicate_live_assignment"])?;
        in_state(the_one(flow, id).await?, "requested", false).map(drop)
    };
    owner.party.step("be refused a second request, and find the first as it was", again).await
}

/// The operator rejects; that is the end of it.
async fn rejected(flow: &Flow<'_>, id: Uuid) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let api = &operator.api;
    let reject = async {
        let blank = api.reject_assignment(id, " ").await;
        refused(blank, StatusCode::BAD_REQUEST, &["invalid_decision_reason"])?;
        let early = api.revoke_assignment(id, REASON).await;
        refused(early, StatusCode::CONFLICT, &["illegal_transition"])?;
        in_state(api.reject_assignment(id, REASON).await?, "rejected", false).map(drop)
    };
    operator.party.step("reject the request, with a reason", reject).await?;
    let late = async {
        let illegal = ["illegal_transition"];
        refused(api.approve_assignment(id).await, StatusCode::CONFLICT, &illegal)?;
        refused(api.approve(id).await, StatusCode::CONFLICT, &illegal)?;
        refused(api.reject_assignment(id, REASON).await, StatusCode::CONFLICT, &illegal)?;
        refused(api.revoke_assignment(id, REASON).await, StatusCode::CONFLICT, &illegal)?;
        let entry = api.approval(id).await?;
        if (entry.state.as_str(), entry.decision_reason.as_deref()) == ("rejected", Some(REASON)) {
            return Ok(());
        }
        Err(Failure::expected(format!("rejected: {REASON}"), format!("{entry:?}")))
    };
    operator.party.step("be refused to change the mind", late).await?;
    let create = async { not_authorised(owner.api.create_resource(flow.project, flow.ingredients).await) };
    owner.party.step("be refused a Resource after the rejection", create).await
}

/// Both ways at the same time: one of them decides, and it is decided for both.
async fn approved_once(flow: &Flow<'_>, id: Uuid) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let api = &operator.api;
    let queue = async {
        let queue = api.pending_approvals().await?;
        let entry = queue.iter().find(|entry| entry.id == id);
        match entry {
            Some(entry) if entry.kind == "credential_assignment" && !entry.materialised => Ok(()),
            _ => Err(Failure::expected("the request, pending, in the queue", format!("{queue:?}"))),
        }
    };
    operator.party.step("find the new request in the approvals queue", queue).await?;
    let twice = async {
        let (own, queued) = tokio::join!(api.approve_assignment(id), api.approve(id));
        let illegal = ["illegal_transition"];
        match (own, queued) {
            (Ok(approved), queued) => {
                refused(queued, StatusCode::CONFLICT, &illegal)?;
                in_state(approved, "approved", true).map(drop)
            }
            (own, Ok(approved)) => {
                refused(own, StatusCode::CONFLICT, &illegal)?;
                in_force(&approved)
            }
            (own, queued) => {
                Err(Failure::expected("one approval to be taken", format!("{own:?} and {queued:?}")))
            }
        }
    };
    operator.party.step("approve it in both ways at once: one is taken", twice).await?;
    let decided = async {
        let illegal = ["illegal_transition"];
        refused(api.approve_assignment(id).await, StatusCode::CONFLICT, &illegal)?;
        refused(api.approve(id).await, StatusCode::CONFLICT, &illegal)?;
        refused(api.reject(id, REASON).await, StatusCode::CONFLICT, &illegal)?;
        in_force(&api.approval(id).await?)?;
        in_state(the_one(flow, id).await?, "approved", true).map(drop)
    };
    operator.party.step("find it decided in both ways", decided).await?;
    let again = async {
        let again = owner.api.request_assignment(flow.project, flow.ingredients.cloud_credential).await;
        refused(again, StatusCode::CONFLICT, &["duplicate_live_assignment"]).map(drop)
    };
    owner.party.step("be refused a request for what is approved", again).await
}

/// A revocation stops new Resources at once; one that was accepted before goes its way, up and down.
async fn revoked_meanwhile(flow: &Flow<'_>, id: Uuid) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let resource = flow.create().await?.id;
    let revoke = async {
        in_state(operator.api.revoke_assignment(id, REASON).await?, "revoked", false)?;
        let twice = operator.api.revoke_assignment(id, REASON).await;
        refused(twice, StatusCode::CONFLICT, &["illegal_transition"]).map(drop)
    };
    operator.party.step("revoke the assignment while the Resource is being made", revoke).await?;
    let create = async { not_authorised(owner.api.create_resource(flow.project, flow.ingredients).await) };
    owner.party.step("be refused another Resource at once", create).await?;
    flow.wait(resource, Phase::Ready).await?;
    flow.delete(resource).await?;
    flow.wait(resource, Phase::Deleted).await.map(drop)
}

/// Somebody who may both request and approve still needs a second party.
async fn not_even_with_the_right_to(flow: &Flow<'_>) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let api = &operator.api;
    let give = async {
        let subject = api.whoami().await?.subject;
        Ok(owner.api.give_relation(flow.project, &subject, "deployer").await?)
    };
    owner.party.step("let the operator deploy in the Project", give).await?;
    let request = async {
        let requested = after_a_moment("the operator's right to request", || {
            api.request_assignment(flow.project, flow.ingredients.cloud_credential)
        });
        in_state(requested.await?, "requested", false)
    };
    let id = operator.party.step("request the credential", request).await?.id;
    let own = async {
        refused(api.approve_assignment(id).await, StatusCode::FORBIDDEN, &["self_approval_denied"])?;
        refused(api.approve(id).await, StatusCode::FORBIDDEN, &["self_approval_denied"])?;
        let all = api.assignments(flow.project).await?;
        match all.into_iter().find(|assignment| assignment.id == id) {
            Some(assignment) => in_state(assignment, "requested", false).map(drop),
            None => Err(Failure::expected("the request", "none")),
        }
    };
    operator.party.step("be refused to approve the own request, with the right to approve", own).await?;
    let withdraw = async {
        let rejected = api.reject(id, REASON).await?;
        if (rejected.state.as_str(), rejected.materialised) == ("rejected", false) {
            return Ok(());
        }
        Err(Failure::expected("rejected", format!("{rejected:?}")))
    };
    operator.party.step("reject the own request by the queue", withdraw).await
}

/// The assignment, as the Project's list has it.
async fn the_one(flow: &Flow<'_>, id: Uuid) -> Result<Assignment, Failure> {
    let all = flow.owner().api.assignments(flow.project).await?;
    let seen = format!("{all:?}");
    let found = all.into_iter().find(|assignment| assignment.id == id);
    found.ok_or_else(|| Failure::expected("the assignment in the Project's list", seen))
}

fn in_force(approval: &Approval) -> Result<(), Failure> {
    if (approval.state.as_str(), approval.materialised) == ("approved", true) {
        return Ok(());
    }
    Err(Failure::expected("approved, materialised", format!("{approval:?}")))
}
