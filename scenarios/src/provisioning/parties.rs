//! The two parties, each with a session of its own; and strangers.

use std::collections::BTreeMap;
use std::time::Duration;

use plexlab_harness::run::{Failure, Party, Run};
use plexlab_lab::{Check, eventually};
use secrecy::SecretString;

use crate::clients::browser::Person;
use crate::clients::cluster::SOON;
use crate::clients::database::{Database, LoginIds};
use crate::clients::plexsphere::Plexsphere;

/// The Domain that both parties are of.
pub const DOMAIN: &str = "acme-corp";
/// The platform operator's e-mail address.
pub const OPERATOR: &str = "operator@example.com";
/// The project owner's.
pub const OWNER: &str = "admin@example.com";
/// Everybody's password at the development identity provider.
const PASSWORD: &str = "password";

/// Somebody who takes steps with a client of their own.
#[derive(Debug)]
pub struct Actor<'r> {
    /// Takes the steps.
    pub party: Party<'r>,
    /// Speaks to the control plane as this party.
    pub api: Plexsphere,
}

/// The platform operator, who keeps the catalog, and the project owner, who wants something from it.
#[derive(Debug)]
pub struct Parties<'r> {
    /// The run.
    pub run: &'r Run,
    /// Platform operator.
    pub operator: Actor<'r>,
    /// Project owner.
    pub owner: Actor<'r>,
}

impl<'r> Parties<'r> {
    /// Both with the API tokens that every stack draws: for scenarios to which signing in is nothing new.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn with_tokens(run: &'r Run) -> Result<Self, Failure> {
        let nobody = nobody(run)?;
        let secrets = &run.stack.secrets;
        let actor = |name, token: &SecretString| Actor {
            party: run.party(name),
            api: nobody.with_token(token.clone()),
        };
        Ok(Self {
            run,
            operator: actor("operator", &secrets.operator_token),
            owner: actor("owner", &secrets.owner_token),
        })
    }

    /// Both sign in by the device flow, each at a browser of its own.
    ///
    /// # Errors
    /// When a sign-in does not end with a token of the right person.
    pub async fn signed_in(run: &'r Run) -> Result<Self, Failure> {
        let nobody = nobody(run)?;
        let ids = Database::of(&run.stack.addresses).await?.login_ids(DOMAIN).await?;
        let detours = &run.stack.addresses.detours;
        let operator = sign_in(detours, run.party("operator"), &nobody, ids, OPERATOR).await?;
        let owner = sign_in(detours, run.party("owner"), &nobody, ids, OWNER).await?;
        Ok(Self { run, operator, owner })
    }

    /// A machine of a Domain that neither Project nor credential has anything to do with. Its Domain is made for it.
    ///
    /// # Errors
    /// When a request is refused.
    pub async fn stranger(&self) -> Result<Actor<'r>, Failure> {
        let api = &self.operator.api;
        let make = async {
            let domain = api.create_domain("strangers-inc", "10.99.0.0/16").await?;
            // Whoever makes a Domain manages it, a moment later.
            let machine = after_a_moment("the creator's rights to the new Domain", || {
                api.create_machine(domain, "stranger")
            });
            Ok(api.as_machine(machine.await?).await?)
        };
        let api = self.operator.party.step("create a Domain and a machine in it", make).await?;
        Ok(Actor { party: self.run.party("stranger"), api })
    }
}

/// A client that nobody is signed in with.
fn nobody(run: &Run) -> Result<Plexsphere, Failure> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
    Ok(Plexsphere::signed_out(http, &run.stack.addresses.control_plane, run.stack.redactor.clone()))
}

/// The tutorial's sign-in: a code for the device, a browser that approves it, a token.
async fn sign_in<'r>(
    detours: &BTreeMap<String, String>,
    party: Party<'r>,
    nobody: &Plexsphere,
    ids: LoginIds,
    email: &str,
) -> Result<Actor<'r>, Failure> {
    let begin = async { Ok(nobody.begin_device(ids.domain, ids.binding).await?) };
    let device = party.step("ask for a device code", begin).await?;
    let approve = async {
        let person = Person::new(email, PASSWORD.into())?.with_detours(detours);
        let arrived = person.visit(&device.verification_uri_complete.parse()?).await?;
        if arrived.signed_in && arrived.approved {
            return Ok(());
        }
        Err(Failure::expected("a sign-in and an approval", arrived.text))
    };
    party.step("sign in at the browser and approve the device", approve).await?;
    let poll = async {
        let token = eventually("the device's token", SOON, || async {
            match nobody.poll_device(&device).await {
                Ok(Some(client)) => Check::Done(Ok(client)),
                Ok(None) => Check::NotYet("the device is not approved yet".into()),
                Err(error) => Check::Done(Err(error)),
            }
        });
        let api = token.await??;
        let whoami = api.whoami().await?;
        if whoami.email.as_deref() == Some(email) {
            return Ok(api);
        }
        Err(Failure::expected(email, format!("{whoami:?}")))
    };
    let api = party.step("get the device's token", poll).await?;
    Ok(Actor { party, api })
}

/// Calls until permission is no longer denied, as clients do in the windows that the documents name: right after
/// something was created or approved (contract: control plane, 4.6). Anything else is passed on at once.
///
/// # Errors
/// The call's error, or that permission stayed denied.
pub async fn after_a_moment<T, F, Fut>(what: &str, call: F) -> Result<T, Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, crate::clients::plexsphere::PlexsphereError>>,
{
    let allowed = eventually(what, SOON, || async {
        match call().await {
            Err(error) if error.is_permission_denied() => Check::NotYet(error.to_string()),
            other => Check::Done(other),
        }
    });
    Ok(allowed.await??)
}
