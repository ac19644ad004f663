//! The two documented windows (contract: control plane, 4.6): what was created or approved takes effect a moment later,
//! with the documented refusals until then; without a lag there are none; and what must be refused is refused whatever
//! the lag.

use std::time::Duration;

use jiff::Timestamp;
use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, consistently, eventually};
use reqwest::StatusCode;
use uuid::Uuid;

use super::flow::{Flow, accepted, in_state, not_authorised, refused};
use super::parties::{DOMAIN, Parties};
use super::phase::Phase;
use crate::clients::cluster::SOON;
use crate::clients::lab::AuthorizationLag;
use crate::clients::plexsphere::PlexsphereError;

/// A lag that people notice.
const LAG: Duration = Duration::from_millis(1500);
/// How long a refusal is seen to last that must last: longer than the lag.
const PAST_LAG: Duration = Duration::from_millis(2500);

/// Runs the scenario.
///
/// # Errors
/// When a window is not as the documents say.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
    let lag = AuthorizationLag::new(http, &run.stack.addresses.control_plane);
    let before = lag.get().await?;
    let outcome = windows(run, &lag).await;
    let operator = run.party("operator");
    let restored = operator.step("restore the lag", async { Ok(lag.set(before).await?) }).await;
    outcome.and(restored.map(drop))
}

async fn windows(run: &Run, lag: &AuthorizationLag) -> Result<(), Failure> {
    let flow = Flow::prepare(Parties::with_tokens(run)?, "windows").await?;
    let stranger = flow.parties.stranger().await?;
    set(&flow, lag, LAG).await?;
    after_create(&flow).await?;
    let assignment = flow.request().await?.id;
    let (resource, approved) = after_approve(&flow, assignment).await?;

    let foreign = async {
        let denied = ["permission_denied"];
        refused(stranger.api.project(flow.project).await, StatusCode::FORBIDDEN, &denied)?;
        refused(stranger.api.resource(resource).await, StatusCode::FORBIDDEN, &denied).map(drop)
    };
    stranger.party.step("be refused what others may by now", foreign).await?;
    revoked_at_once(&flow, approved).await?;
    revoked_before_it_took_effect(&flow).await?;

    set(&flow, lag, Duration::ZERO).await?;
    let prompt = at_once(&flow).await?;
    for resource in [resource, prompt] {
        flow.wait(resource, Phase::Ready).await?;
        flow.delete(resource).await?;
    }
    for resource in [resource, prompt] {
        flow.wait(resource, Phase::Deleted).await?;
    }
    Ok(())
}

async fn set(flow: &Flow<'_>, lag: &AuthorizationLag, to: Duration) -> Result<(), Failure> {
    let name = format!("make authorization {} ms late", to.as_millis());
    flow.operator().party.step(&name, async { Ok(lag.set(to).await?) }).await.map(drop)
}

/// The first window: the creator of a Project may not do anything with it yet.
async fn after_create(flow: &Flow<'_>) -> Result<(), Failure> {
    let owner = flow.owner();
    let window = async {
        let began = Timestamp::now();
        let project = owner.api.create_project_at_once(DOMAIN, "fresh").await?;
        let first = owner.api.project(project).await;
        let answered = Timestamp::now();
        if is_within(began, answered) {
            refused(first, StatusCode::FORBIDDEN, &["permission_denied"])?;
            let credential = flow.ingredients.cloud_credential;
            let others = (
                owner.api.request_assignment(project, credential).await,
                owner.api.issue_token(project, "node").await,
                owner.api.create_resource(project, flow.ingredients).await,
            );
            if is_within(began, Timestamp::now()) {
                refused(others.0, StatusCode::FORBIDDEN, &["permission_denied"])?;
                refused(others.1, StatusCode::FORBIDDEN, &["permission_denied"])?;
                refused(others.2, StatusCode::FORBIDDEN, &["permission_denied"])?;
            }
        } else if let Err(error) = first
            && !error.is_permission_denied()
        {
            return Err(error.into());
        }
        opens(began, || owner.api.project(project)).await.map(drop)
    };
    owner.party.step("be refused the new Project for a moment, and no longer", window).await
}

/// The second window: the approval is there, its effect is not.
async fn after_approve(flow: &Flow<'_>, assignment: Uuid) -> Result<(Uuid, Uuid), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let window = async {
        let began = Timestamp::now();
        in_state(operator.api.approve_assignment(assignment).await?, "approved", true)?;
        let made =
            opens_with(began, not_authorised, || owner.api.create_resource(flow.project, flow.ingredients));
        Ok(accepted(made.await?)?.id)
    };
    let name = "be refused a Resource for a moment after the approval, in the documented words";
    Ok((owner.party.step(name, window).await?, assignment))
}

/// A revocation has no window.
async fn revoked_at_once(flow: &Flow<'_>, assignment: Uuid) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let revoke = async {
        in_state(operator.api.revoke_assignment(assignment, "over").await?, "revoked", false).map(drop)
    };
    operator.party.step("revoke the assignment", revoke).await?;
    let create = async { not_authorised(owner.api.create_resource(flow.project, flow.ingredients).await) };
    owner.party.step("be refused a Resource at once", create).await
}

/// What was revoked before it took effect never does.
async fn revoked_before_it_took_effect(flow: &Flow<'_>) -> Result<(), Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let assignment = flow.request().await?.id;
    flow.approve(assignment).await?;
    let revoke = async {
        in_state(operator.api.revoke_assignment(assignment, "on second thoughts").await?, "revoked", false)
            .map(drop)
    };
    operator.party.step("revoke it before it took effect", revoke).await?;
    let never = async {
        let look = || async {
            let create = owner.api.create_resource(flow.project, flow.ingredients).await;
            not_authorised(create).err().map(|failure| failure.to_string())
        };
        Ok(consistently("the Project to stay refused", PAST_LAG, look).await?)
    };
    owner.party.step("be refused a Resource for longer than the lag", never).await
}

/// Without a lag what was created or approved takes effect with the answer.
async fn at_once(flow: &Flow<'_>) -> Result<Uuid, Failure> {
    let (operator, owner) = (flow.operator(), flow.owner());
    let project = async {
        let project = owner.api.create_project_at_once(DOMAIN, "prompt").await?;
        owner.api.project(project).await?;
        Ok(())
    };
    owner.party.step("create a Project and read it at once", project).await?;
    let resource = async {
        let credential = flow.ingredients.cloud_credential;
        let assignment = owner.api.request_assignment(flow.project, credential).await?;
        in_state(operator.api.approve_assignment(assignment.id).await?, "approved", true)?;
        Ok(accepted(owner.api.create_resource(flow.project, flow.ingredients).await?)?.id)
    };
    owner.party.step("create a Resource at once after the approval", resource).await
}

/// Whether the lag of a grant that was made at `began` or later cannot have passed at `now`. By the clock that the
/// control plane on this machine goes by.
fn is_within(began: Timestamp, now: Timestamp) -> bool {
    now.duration_since(began).unsigned_abs() < LAG
}

async fn opens<T, F, Fut>(began: Timestamp, call: F) -> Result<T, Failure>
where
    T: std::fmt::Debug,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, PlexsphereError>>,
{
    let denied = |outcome| refused(outcome, StatusCode::FORBIDDEN, &["permission_denied"]).map(drop);
    opens_with(began, denied, call).await
}

/// Calls until it is let through, which must not be before the lag has passed; what `denied` does not recognise as the
/// documented refusal is a failure.
async fn opens_with<T, F, Fut>(
    began: Timestamp,
    denied: impl Fn(Result<T, PlexsphereError>) -> Result<(), Failure>,
    call: F,
) -> Result<T, Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, PlexsphereError>>,
{
    let opened = eventually("the window to end", SOON, || async {
        let outcome = call().await;
        let now = Timestamp::now();
        match outcome {
            Ok(_) if is_within(began, now) => Check::Done(Err(Failure::expected(
                format!("a refusal until {} ms after the grant", LAG.as_millis()),
                format!("success after {} ms", now.duration_since(began).as_millis()),
            ))),
            Ok(answer) => Check::Done(Ok(answer)),
            Err(error) => match denied(Err(error)) {
                Ok(()) => Check::NotYet("the documented refusal".into()),
                Err(failure) => Check::Done(Err(failure)),
            },
        }
    });
    opened.await?
}
