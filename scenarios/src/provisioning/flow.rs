//! The tutorial's steps through the API, each with its name: look at the catalog, create a Project, request, approve,
//! create, wait, delete.
//!
//! Where a grant takes effect a moment later ([`after_a_moment`]) the steps retry, as the documents tell people to.

use std::time::Duration;

use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};
use reqwest::StatusCode;
use uuid::Uuid;

use super::parties::{Actor, DOMAIN, Parties, after_a_moment};
use super::phase::Phase;
use super::substrate::Substrate;
use super::watch::Watch;
use crate::clients::database::Database;
use crate::clients::plexsphere::assignments::Assignment;
use crate::clients::plexsphere::client::Located;
use crate::clients::plexsphere::resources::{Ingredients, Resource};
use crate::clients::plexsphere::{PlexsphereError, Problem};

/// The demo Cloud, the same in every stack.
pub const CLOUD: Uuid = Uuid::from_u128(0x0191_00c0_0d00_7000_8000_0000_0000_0001);
/// The cloudless blueprint, the same in every stack.
pub const BLUEPRINT: Uuid = Uuid::from_u128(0x0191_0051_0051_7000_8051_0000_0000_0006);
/// The demo Cloud's credential.
pub const CREDENTIAL: &str = "demo-credential";
/// What the documents say that a refused create says.
pub const NOT_AUTHORISED: &str = "project not authorised to use the named credential";
/// Limit for a phase: a pod has to run, and an enrolment that was refused tries again after five seconds.
pub const PHASE_LIMIT: Duration = Duration::from_secs(120);

/// Two parties and their Project.
#[derive(Debug)]
pub struct Flow<'r> {
    /// Who takes part.
    pub parties: Parties<'r>,
    /// What Resources are made from.
    pub ingredients: Ingredients,
    /// The Project.
    pub project: Uuid,
    /// The Project's part of the management cluster.
    pub substrate: Substrate,
}

impl<'r> Flow<'r> {
    /// The operator looks at the catalog, the owner creates a Project.
    ///
    /// # Errors
    /// When one of them may not.
    pub async fn prepare(parties: Parties<'r>, slug: &str) -> Result<Self, Failure> {
        let ingredients = read_catalog(&parties).await?;
        let owner = &parties.owner;
        let create = async { Ok(owner.api.create_project(DOMAIN, slug).await?) };
        let project = owner.party.step("create a Project in Acme Corp", create).await?;
        let substrate = Substrate::new(parties.run.stack.client.clone(), project);
        Ok(Self { parties, ingredients, project, substrate })
    }

    /// As [`Flow::prepare`] with API tokens, and the Project may use the credential: ready to create Resources.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn approved(run: &'r plexlab_harness::run::Run, slug: &str) -> Result<Self, Failure> {
        let flow = Self::prepare(Parties::with_tokens(run)?, slug).await?;
        let assignment = flow.request().await?;
        flow.approve(assignment.id).await?;
        Ok(flow)
    }

    /// The platform operator.
    pub fn operator(&self) -> &Actor<'r> {
        &self.parties.operator
    }

    /// The project owner.
    pub fn owner(&self) -> &Actor<'r> {
        &self.parties.owner
    }

    /// The control plane's database.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn database(&self) -> Result<Database, Failure> {
        Ok(Database::of(&self.parties.run.stack.addresses).await?)
    }

    /// The owner asks for the credential.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn request(&self) -> Result<Assignment, Failure> {
        let owner = self.owner();
        let request = async {
            let assignment = after_a_moment("the right to request", || {
                owner.api.request_assignment(self.project, self.ingredients.cloud_credential)
            });
            in_state(assignment.await?, "requested", false)
        };
        owner.party.step("request the credential for the Project", request).await
    }

    /// The operator approves.
    ///
    /// # Errors
    /// When the approval is refused.
    pub async fn approve(&self, assignment: Uuid) -> Result<Assignment, Failure> {
        let operator = self.operator();
        let approve =
            async { in_state(operator.api.approve_assignment(assignment).await?, "approved", true) };
        operator.party.step("approve the request", approve).await
    }

    /// The owner declares a Resource, as soon as the approval has taken effect.
    ///
    /// # Errors
    /// When it stays refused, or the answer is not as published.
    pub async fn create(&self) -> Result<Resource, Failure> {
        let owner = self.owner();
        let create = async {
            let made = after_a_moment("the Project's right to use the credential", || {
                owner.api.create_resource(self.project, self.ingredients)
            });
            accepted(made.await?)
        };
        owner.party.step("create a Resource of the cloudless blueprint", create).await
    }

    /// The owner waits for a phase.
    ///
    /// # Errors
    /// When it does not come in time, or cannot come any more.
    pub async fn wait(&self, resource: Uuid, wanted: Phase) -> Result<Resource, Failure> {
        self.owner().party.step(&format!("wait for {wanted}"), self.reach(resource, wanted)).await
    }

    /// As [`Flow::wait`], but no step.
    ///
    /// # Errors
    /// When it does not come in time, or cannot come any more.
    pub async fn reach(&self, resource: Uuid, wanted: Phase) -> Result<Resource, Failure> {
        let api = &self.owner().api;
        let reached = eventually(format!("phase {wanted}"), PHASE_LIMIT, || async {
            let found = match api.resource(resource).await {
                Ok(found) => found,
                Err(error) => return Check::NotYet(error.to_string()),
            };
            match phase_of(&found) {
                Ok(phase) if phase == wanted => Check::Done(Ok(found)),
                Ok(phase) if phase.leads_to(wanted) => Check::NotYet(phase.to_string()),
                Ok(phase) => Check::Done(Err(Failure::expected(format!("phase {wanted}"), phase.as_str()))),
                Err(failure) => Check::Done(Err(failure)),
            }
        });
        reached.await?
    }

    /// The owner asks for the teardown.
    ///
    /// # Errors
    /// When it is not accepted with 202.
    pub async fn delete(&self, resource: Uuid) -> Result<(), Failure> {
        let owner = self.owner();
        let delete = async {
            match owner.api.delete_resource(resource).await? {
                202 => Ok(()),
                other => Err(Failure::expected("202", other.to_string())),
            }
        };
        owner.party.step("delete the Resource", delete).await
    }

    /// Somebody watches a Resource from now on, with the owner's rights.
    pub fn watch(&self, who: &str, resource: Uuid) -> Watch {
        let timeline = self.parties.run.stack.timeline.clone();
        Watch::start(who, self.owner().api.clone(), self.substrate.clone(), resource, timeline)
    }
}

/// The operator looks up what the tutorial looks up: Cloud, credential, blueprint and its version's id, which is read
/// by SQL as the tutorial does, and is the same by the API where that serves it.
async fn read_catalog(parties: &Parties<'_>) -> Result<Ingredients, Failure> {
    let operator = &parties.operator;
    let credential = async {
        let cloud = operator.api.cloud(CLOUD).await?;
        if (cloud.slug.as_str(), cloud.provider.as_str()) != ("demo-cloud", "aws") {
            return Err(Failure::expected("demo-cloud of provider aws", format!("{cloud:?}")));
        }
        let all = operator.api.cloud_credentials(CLOUD).await?;
        let seen = format!("{all:?}");
        let found = all.into_iter().find(|credential| credential.display_name == CREDENTIAL);
        found.ok_or_else(|| Failure::expected(format!("a credential named {CREDENTIAL}"), seen))
    };
    let credential = operator.party.step("find the demo Cloud's credential", credential).await?;
    let version = async {
        let blueprint = operator.api.blueprint(BLUEPRINT).await?;
        let Some(version) = blueprint.versions.first() else {
            return Err(Failure::expected("a version of the cloudless blueprint", "none"));
        };
        let database = Database::of(&parties.run.stack.addresses).await?;
        let by_sql = database.blueprint_versions(BLUEPRINT).await?;
        match (by_sql.as_slice(), version.id) {
            ([id], None) => Ok(*id),
            ([id], Some(served)) if *id == served => Ok(*id),
            _ => Err(Failure::expected(
                "the same id by SQL and by the API",
                format!("{by_sql:?}, {version:?}"),
            )),
        }
    };
    let version = operator.party.step("find the cloudless blueprint's version", version).await?;
    Ok(Ingredients { blueprint_version: version, cloud_credential: credential.id })
}

/// The phase of a provisioned Resource.
///
/// # Errors
/// When it has none.
pub fn phase_of(resource: &Resource) -> Result<Phase, Failure> {
    let provisioning = resource.provisioning.as_ref();
    let provisioning =
        provisioning.ok_or_else(|| Failure::expected("a provisioned Resource", format!("{resource:?}")))?;
    Phase::parse(&provisioning.phase)
}

/// An assignment in this state.
///
/// # Errors
/// When it is in another, or is materialised otherwise.
pub fn in_state(assignment: Assignment, state: &str, materialised: bool) -> Result<Assignment, Failure> {
    if (assignment.state.as_str(), assignment.materialised) == (state, materialised) {
        return Ok(assignment);
    }
    let expected = format!("state {state} with materialised {materialised}");
    Err(Failure::expected(expected, format!("{} with {}", assignment.state, assignment.materialised)))
}

/// A Resource that was accepted: where the answer says, and pending.
///
/// # Errors
/// When the answer says otherwise.
pub fn accepted(made: Located<Resource>) -> Result<Resource, Failure> {
    let resource = made.body;
    let path = format!("/v1/resources/{}", resource.id);
    if !made.location.ends_with(&path) {
        return Err(Failure::expected(format!("Location {path}"), made.location));
    }
    if !resource.origin.eq_ignore_ascii_case("provisioned") {
        return Err(Failure::expected("origin provisioned", resource.origin));
    }
    match phase_of(&resource)? {
        Phase::Pending => Ok(resource),
        other => Err(Failure::expected("phase Pending", other.as_str())),
    }
}

/// A refusal with this status and one of these codes.
///
/// # Errors
/// When the request was let through, or was refused otherwise.
pub fn refused<T: std::fmt::Debug>(
    outcome: Result<T, PlexsphereError>,
    status: StatusCode,
    codes: &[&str],
) -> Result<Problem, Failure> {
    let expected = format!("{} {}", status.as_u16(), codes.join(" or "));
    match outcome {
        Err(PlexsphereError::Problem(problem))
            if problem.status == status && codes.contains(&problem.code.as_str()) =>
        {
            Ok(*problem)
        }
        Err(error) => Err(Failure::expected(expected, error.to_string())),
        Ok(answer) => Err(Failure::expected(expected, format!("success: {answer:?}"))),
    }
}

/// The refusal of a create by a Project that may not use the credential, in the documents' words.
///
/// # Errors
/// When it was let through, or was refused otherwise.
pub fn not_authorised(outcome: Result<Located<Resource>, PlexsphereError>) -> Result<(), Failure> {
    let problem = refused(outcome, StatusCode::FORBIDDEN, &["permission_denied"])?;
    let expected = ("Permission Denied", NOT_AUTHORISED, Some("insufficient_relation"));
    let seen = (problem.title.as_str(), problem.detail.as_str(), problem.reason.as_deref());
    if seen == expected {
        Ok(())
    } else {
        Err(Failure::expected(format!("{expected:?}"), format!("{seen:?}")))
    }
}
