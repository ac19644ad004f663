//! What a scenario makes at a control plane that runs elsewhere: told from what others made there, and taken away when
//! the scenario has ended.

use std::time::Duration;

use plexlab_harness::run::{Failure, Run};
use uuid::Uuid;

use crate::clients::plexsphere::{Plexsphere, PlexsphereError};

/// Slug of the Domain in which the seeded owner makes Projects.
const SEEDED_DOMAIN: &str = "acme-corp";

/// A client for a scenario's calls.
///
/// # Errors
/// When there can be none.
pub fn http() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()
}

/// A client of the run's control plane with its owner's token.
pub fn as_owner(run: &Run, http: reqwest::Client) -> Plexsphere {
    let stack = &run.stack;
    let token = stack.secrets.owner_token.clone();
    Plexsphere::new(http, &stack.addresses.control_plane, token, stack.redactor.clone())
}

/// Creates a Project for a run, in the owner's Domain. Elsewhere its name gets an end of its own, as others may have made
/// one before.
///
/// # Errors
/// When the request is refused.
pub async fn create_project(run: &Run, owner: &Plexsphere, name: &str) -> Result<Uuid, PlexsphereError> {
    let Some(access) = run.stack.spec.images.owner() else {
        return owner.create_project(SEEDED_DOMAIN, name).await;
    };
    let end = Uuid::new_v4().simple().to_string();
    let project = owner.create_project_at_once(&access.domain, &format!("{name}-{}", &end[..8])).await?;
    run.made_elsewhere(project);
    owner.rights_to(project).await?;
    Ok(project)
}

/// What is left to take away.
#[derive(Debug)]
pub struct Leaving {
    owner: Plexsphere,
    projects: Vec<Uuid>,
}

impl Leaving {
    /// Of a run; none if all that it made goes with its stack.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn of(run: &Run) -> Result<Option<Self>, Failure> {
        let projects = run.elsewhere();
        if projects.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { owner: as_owner(run, http()?), projects }))
    }

    /// Takes the Projects away, with the Resources and Nodes that came into them.
    ///
    /// # Errors
    /// With the first Project that stays, and why.
    pub async fn leave(&self) -> Result<(), Failure> {
        for project in &self.projects {
            self.remove(*project).await.map_err(|error| Failure {
                step: "leave the control plane as it was".to_owned(),
                ..Failure::expected(format!("Project {project} to be removed"), error.to_string())
            })?;
        }
        Ok(())
    }

    async fn remove(&self, project: Uuid) -> Result<(), PlexsphereError> {
        for resource in self.owner.resources(project).await? {
            self.owner.delete_resource(resource.id).await?;
        }
        self.owner.delete_project(project).await
    }
}
