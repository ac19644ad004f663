//! What the scenarios of this module stand on: two parties, and a Project that may spend the seeded credential.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use plexlab_harness::observe::requests;
use plexlab_harness::run::{Failure, Party, Run};
use plexlab_lab::{Check, Exchange, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clients::database::dsn;
use crate::clients::history::History;
use crate::clients::lab;
use crate::clients::plexsphere::resources::{Ingredients, Resource};
use crate::clients::plexsphere::{Plexsphere, PlexsphereError};

/// The seeded Cloud and blueprint (contract: control plane, 14).
const CLOUD: Uuid = Uuid::from_u128(0x0191_00c0_0d00_7000_8000_0000_0000_0001);
const BLUEPRINT: Uuid = Uuid::from_u128(0x0191_0051_0051_7000_8051_0000_0000_0006);
/// The Composite Resources of the seeded blueprint.
pub const COMPOSITES: (&str, &str) = ("blueprints.plexsphere.com/v1alpha1", "XKubernetesCloudlessNode");
/// Limit for a step of a Resource's life, on a machine that does much else.
pub const WITHIN: Duration = Duration::from_secs(120);

/// The parties, their clients, and the Project.
pub struct Ground<'r> {
    /// The run.
    pub run: &'r Run,
    /// Who decides on credentials.
    pub operator: Party<'r>,
    /// Who owns the Project.
    pub owner: Party<'r>,
    /// The operator's client.
    pub as_operator: Plexsphere,
    /// The owner's client.
    pub as_owner: Plexsphere,
    /// The management cluster, with all rights.
    pub client: Client,
    /// The control plane's rows.
    pub history: History,
    /// The Project.
    pub project: Uuid,
    /// What its Resources are made of.
    pub from: Ingredients,
    /// For the stand-ins' own routes.
    pub http: reqwest::Client,
}

impl<'r> Ground<'r> {
    /// Signs in both parties, makes a Project and lets it spend the seeded credential.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn prepare(run: &'r Run) -> Result<Self, Failure> {
        let stack = &run.stack;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
        let client = |token| {
            Plexsphere::new(http.clone(), &stack.addresses.control_plane, token, stack.redactor.clone())
        };
        let as_operator = client(stack.secrets.operator_token.clone());
        let as_owner = client(stack.secrets.owner_token.clone());
        let operator = run.party("operator");
        let owner = run.party("owner");
        let history = History::new(dsn(&stack.addresses)?);
        let read = async {
            let credentials = as_operator.cloud_credentials(CLOUD).await?;
            let found = credentials.iter().find(|credential| credential.display_name == "demo-credential");
            let credential = found.map(|credential| credential.id);
            let version = history.blueprint_version(BLUEPRINT).await?;
            match (credential, version) {
                (Some(cloud_credential), Some(blueprint_version)) => {
                    Ok(Ingredients { blueprint_version, cloud_credential })
                }
                _ => Err(Failure::expected(
                    "the credential demo-credential and a version of the blueprint",
                    format!("{credentials:?} and {version:?}"),
                )),
            }
        };
        let from = operator.step("read the seeded credential and blueprint", read).await?;
        let mut ground = Self {
            run,
            operator,
            owner,
            as_operator,
            as_owner,
            client: stack.client.clone(),
            history,
            project: Uuid::nil(),
            from,
            http,
        };
        ground.project = ground.another_project("machines").await?;
        Ok(ground)
    }

    /// Makes a Project in Acme Corp that may spend the credential.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn another_project(&self, name: &str) -> Result<Uuid, Failure> {
        let create = async { Ok(self.as_owner.create_project("acme-corp", name).await?) };
        let project = self.owner.step(&format!("create the Project {name} in Acme Corp"), create).await?;
        let credential = self.from.cloud_credential;
        let request = async { Ok(self.as_owner.request_assignment(project, credential).await?) };
        let assignment = self.owner.step("request the credential", request).await?;
        let approve = async { Ok(self.as_operator.approve_assignment(assignment.id).await?) };
        self.operator.step("approve the request", approve).await?;
        Ok(project)
    }

    /// Declares a Resource of the seeded blueprint; waits for the Project's right, which comes a moment later.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn provision(&self, project: Uuid) -> Result<Resource, Failure> {
        self.provision_from(project, self.from).await
    }

    /// As [`Self::provision`], from something else. A control plane that is away is waited for too: nothing was made
    /// when no answer came in, or another one was, which nobody counts.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn provision_from(&self, project: Uuid, from: Ingredients) -> Result<Resource, Failure> {
        let declared = eventually("the Resource to be accepted", WITHIN, || async {
            match self.as_owner.create_resource(project, from).await {
                Ok(made) => Check::Done(Ok(made.body)),
                Err(error) if error.is_permission_denied() || is_away(&error) => {
                    Check::NotYet(error.to_string())
                }
                Err(error) => Check::Done(Err(error)),
            }
        });
        Ok(declared.await??)
    }

    /// Asks for a Resource's end; 202 is what must come.
    ///
    /// # Errors
    /// When something else comes.
    pub async fn delete(&self, resource: Uuid) -> Result<(), Failure> {
        let deleted = patiently("the deletion to be accepted", || self.as_owner.delete_resource(resource));
        match deleted.await? {
            202 => Ok(()),
            other => Err(Failure::expected("202 Accepted", other.to_string())),
        }
    }

    /// The Resources of a Project.
    ///
    /// # Errors
    /// When they are not told.
    pub async fn resources(&self, project: Uuid) -> Result<Vec<Resource>, Failure> {
        patiently("the Project's list", || self.as_owner.resources(project)).await
    }

    /// Waits until the API shows this phase. Failed ends the wait for another one.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn until_phase(&self, resource: Uuid, phase: &str) -> Result<(), Failure> {
        let seen = eventually(format!("the phase {phase}"), WITHIN, || async {
            match self.as_owner.resource(resource).await {
                Ok(found) => match found.provisioning.map(|provisioning| provisioning.phase) {
                    Some(found) if found == phase => Check::Done(Ok(())),
                    Some(found) if found == "Failed" => Check::Done(Err(found)),
                    found => Check::NotYet(format!("{found:?}")),
                },
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        let seen = seen.await?;
        match seen {
            Ok(()) => Ok(()),
            Err(found) => {
                let why = self.history.failure_reason(resource).await?.unwrap_or_default();
                Err(Failure::expected(format!("the phase {phase}"), format!("{found}: {why}")))
            }
        }
    }

    /// The registrations that the control plane saw since it started, in order.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub async fn registrations(&self) -> Result<Vec<Exchange>, Failure> {
        let all = requests::read(&self.http, &self.run.stack.addresses.control_plane, 0).await?;
        Ok(all.into_iter().filter(|exchange| exchange.path == "/v1/register").collect())
    }

    /// Posts to one of the control plane's own test routes.
    ///
    /// # Errors
    /// When it does not take it.
    pub async fn lab(&self, path: &str, body: Value) -> Result<(), Failure> {
        lab::post(&self.http, &self.run.stack.addresses.control_plane, path, &body).await?;
        Ok(())
    }

    /// A Resource's Composite Resource, as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn composite(&self, resource: &Resource) -> Result<Option<Value>, Failure> {
        let found = self.composites(resource.project_id).get_opt(&handle(resource)).await?;
        Ok(found.map(|found| json!(found)))
    }

    /// The Composite Resources of the seeded blueprint in a Project's namespace.
    pub fn composites(&self, project: Uuid) -> Api<DynamicObject> {
        self.objects(COMPOSITES, &namespace(project))
    }

    /// Objects of any kind in a namespace.
    pub fn objects(&self, (api_version, kind): (&str, &str), namespace: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), namespace, &kind)
    }

    /// What is left of Resources in a Project's namespace: objects of all kinds that a Composite Resource has or makes.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn remains(&self, project: Uuid) -> Result<Vec<String>, Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = namespace(project);
        if namespaces.get_opt(&namespace).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut left = Vec::new();
        for kind in PARTS {
            for object in self.objects(kind, &namespace).list(&ListParams::default()).await?.items {
                let name = object.metadata.name.unwrap_or_default();
                // Every namespace has this one.
                if name != "kube-root-ca.crt" {
                    left.push(format!("{} {name}", kind.1));
                }
            }
        }
        Ok(left)
    }

    /// Waits until nothing is left of a Project's Resources in the cluster.
    ///
    /// # Errors
    /// When something stays.
    pub async fn until_nothing_remains(&self, project: Uuid) -> Result<(), Failure> {
        let gone = eventually("nothing left in the Project's namespace", WITHIN, || async {
            match self.remains(project).await {
                Ok(left) if left.is_empty() => Check::Done(()),
                Ok(left) => Check::NotYet(left.join(", ")),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(gone.await?)
    }
}

/// The kinds that a Resource of the seeded blueprint puts into a namespace.
pub const PARTS: [(&str, &str); 6] = [
    COMPOSITES,
    ("kubernetes.m.crossplane.io/v1alpha1", "Object"),
    ("kubernetes.m.crossplane.io/v1alpha1", "ProviderConfig"),
    ("v1", "ConfigMap"),
    ("batch/v1", "Job"),
    ("v1", "Pod"),
];

/// A Project's namespace.
pub fn namespace(project: Uuid) -> String {
    format!("plexsphere-project-{project}")
}

/// The name of a Resource's Composite Resource.
pub fn handle(resource: &Resource) -> String {
    let id = resource.provisioning.as_ref().map(|provisioning| provisioning.provisioned_resource_id);
    format!("pr-{}", id.unwrap_or_default().simple())
}

/// Asks until the control plane and its database are there to answer.
async fn patiently<T, A>(what: &str, ask: impl Fn() -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<T, PlexsphereError>>,
{
    let answer = eventually(what, WITHIN, || async {
        match ask().await {
            Err(error) if is_away(&error) => Check::NotYet(error.to_string()),
            answer => Check::Done(answer),
        }
    });
    Ok(answer.await??)
}

/// Whether the control plane, or its database, is not there for the moment.
pub fn is_away(error: &PlexsphereError) -> bool {
    match error {
        PlexsphereError::Transport { .. } => true,
        PlexsphereError::NoRights(_) => false,
        PlexsphereError::Problem(problem) => problem.status.is_server_error(),
    }
}
