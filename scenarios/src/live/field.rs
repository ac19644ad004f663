//! What one race begins with: a Domain of its own, with Projects, tokens, and, where two parties are at it, people and
//! their request.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use plexlab_race::history::{Ground, TokenGround};
use plexlab_rules::mesh::Cidr;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::arena::{Arena, LiveError};
use super::calls;
use super::cast::Cast;
use super::lifecycle::rows::Minted;
use crate::provisioning::flow::{BLUEPRINT, CLOUD};

/// A bootstrap token of a race.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Its Project.
    pub project: Uuid,
    /// Its plaintext.
    pub plaintext: SecretString,
}

/// Somebody who requests, decides or provisions.
#[derive(Debug, Clone)]
pub struct Party {
    /// As the database names them: `user:<uuid>` or `service:<uuid>`.
    pub subject: String,
    /// Their token.
    pub bearer: SecretString,
}

/// A request for a credential, and what a Resource can be made of with it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Its id.
    pub id: Uuid,
    /// For which Project.
    pub project: Uuid,
    /// The credential.
    pub credential: Uuid,
    /// A blueprint's version.
    pub version: Uuid,
}

/// A provisioned Resource.
#[derive(Debug, Clone)]
pub struct Provisioned {
    /// The Resource.
    pub resource: Uuid,
    /// What drives it.
    pub id: Uuid,
    /// Its Project.
    pub project: Uuid,
    /// Its handle, which is also the name of its Composite Resource.
    pub handle: String,
}

/// What one race begins with.
#[derive(Debug, Clone)]
pub struct Field {
    /// Where its clock begins, in microseconds since the epoch.
    pub base: i64,
    /// The ground as it came to be.
    pub ground: Ground,
    /// What begins all its names.
    pub prefix: String,
    /// Its Projects, by number.
    pub projects: Vec<Uuid>,
    /// Its tokens, by number.
    pub tokens: Vec<Token>,
    /// Its parties, by number; the first is the requester. None where there is no request.
    pub parties: Vec<Party>,
    /// Its requests, by number.
    pub requests: Vec<Request>,
    /// Its provisioned Resources, by number.
    pub resources: Vec<Provisioned>,
}

impl Field {
    /// A Domain with all that this race begins with.
    ///
    /// # Errors
    /// When the control plane refuses a part.
    pub async fn prepare(arena: &mut Arena, cast: &Cast) -> Result<Self, LiveError> {
        arena.set_clock(0).await?;
        let number = arena.next_race();
        let prefix = format!("r{number}");
        let mut ground = cast.ground.clone();
        let pool = Pool::numbered(number, ground.pools.first().map_or("", String::as_str));
        ground.pools = vec![pool.block.clone()];
        for project in &mut ground.projects {
            project.sub_range = project.sub_range.as_deref().map(|range| pool.moved(range));
        }
        let body = json!({"name": prefix, "slug": prefix, "mesh_cidr": pool.block});
        let domain = id(&arena.operate(Method::POST, "/v1/domains", Some(body)).await?, "id");
        let mut projects = Vec::new();
        let sub_ranges = ground.projects.iter().map(|project| project.sub_range.as_deref());
        // Who requests something does so for a Project.
        let for_request = [None].into_iter().take(usize::from(ground.projects.is_empty()));
        for (number, sub_range) in sub_ranges.chain(for_request).enumerate() {
            let mut body =
                json!({"domain_id": domain, "name": format!("p{number}"), "slug": format!("p{number}")});
            if let Some(range) = sub_range {
                body["sub_range_cidr"] = json!(range);
            }
            projects.push(id(&arena.operate(Method::POST, "/v1/projects", Some(body)).await?, "id"));
        }
        let base = Timestamp::now().as_microsecond();
        let mut tokens = Vec::new();
        for token in &mut ground.tokens {
            let project = projects.get(token.project as usize).copied().unwrap_or_default();
            let issued = issue(arena, project).await?;
            *token = TokenGround { expires_at: issued.1 - base, ..*token };
            tokens.push(issued.0);
        }
        let (parties, requests, resources) = (Vec::new(), Vec::new(), Vec::new());
        let mut field = Self { base, ground, prefix, projects, tokens, parties, requests, resources };
        if !field.ground.assignments.is_empty() {
            field.two_parties(arena, domain, cast.parties()).await?;
        }
        for _ in 0..field.ground.resources.len() {
            field.two_parties(arena, domain, 2).await?;
            field.provision(arena).await?;
        }
        Ok(field)
    }

    /// The operator has the credential, and requests it; the others are machines of the Domain that may decide about it,
    /// too. That several have a say in one credential the published API cannot make so: the database can.
    async fn two_parties(&mut self, arena: &mut Arena, domain: Uuid, parties: u16) -> Result<(), LiveError> {
        let clouds = format!("/v1/clouds/{CLOUD}/cloud-credentials");
        let credential = first(&arena.operate(Method::GET, &clouds, None).await?["items"]);
        let blueprint = format!("/v1/blueprints/{BLUEPRINT}");
        let version = first(&arena.operate(Method::GET, &blueprint, None).await?["versions"]);
        let me = arena.operate(Method::GET, "/v1/auth/whoami", None).await?;
        let subject = me["subject"].as_str().unwrap_or_default().to_owned();
        self.parties.push(Party { subject, bearer: arena.bearer() });
        for number in 1..parties {
            let name = format!("{}-party-{number}", self.prefix);
            let body = json!({
                "display_name": name, "subject": name, "audience": "plexsphere", "federation_kind": "api_token",
            });
            let path = format!("/v1/domains/{domain}/service-identities");
            let machine = id(&arena.operate(Method::POST, &path, Some(body)).await?, "id");
            let subject = format!("service:{machine}");
            let body = json!({"identity_ref": subject, "env_prefix": "dev", "ttl_seconds": 3600});
            let issued = arena.operate(Method::POST, "/v1/auth/tokens", Some(body)).await?;
            let plaintext = issued["plaintext"].as_str().unwrap_or_default();
            arena.redactor.register(plaintext);
            arena.witness.share_credential(credential, machine).await?;
            self.parties.push(Party { subject, bearer: plaintext.into() });
        }
        for _ in 0..self.ground.assignments.len().max(1) {
            let project = self.projects.first().copied().unwrap_or_default();
            let path = format!("/v1/projects/{project}/credential-assignments");
            let body = json!({"cloud_credential_id": credential});
            let id = id(&arena.operate(Method::POST, &path, Some(body)).await?, "id");
            self.requests.push(Request { id, project, credential, version });
        }
        Ok(())
    }

    /// What was minted in the race, as if it had been there: by number, in the order of the mints.
    pub(super) fn minted(&mut self, tokens: &[Minted]) {
        for token in tokens {
            let project = self.projects.first().copied().unwrap_or_default();
            self.tokens.push(Token { id: token.id, project, plaintext: SecretString::default() });
            self.ground.tokens.push(TokenGround { project: 0, expires_at: token.expires_at - self.base });
        }
    }

    /// The other one approves the request, and the operator provisions with it.
    async fn provision(&mut self, arena: &Arena) -> Result<(), LiveError> {
        let (Some(request), Some(other)) = (self.requests.last(), self.parties.last()) else { return Ok(()) };
        let path = format!("/v1/credential-assignments/{}/approve", request.id);
        arena.ask(0, Method::POST, &path, Some(&other.bearer), None).await?;
        let path = format!("/v1/projects/{}/resources", request.project);
        let made = arena.operate(Method::POST, &path, Some(calls::declaration(request))).await?;
        self.resources.push(Provisioned {
            resource: id(&made, "id"),
            id: id(&made["provisioning"], "provisioned_resource_id"),
            project: request.project,
            handle: made["external_ref"].as_str().unwrap_or_default().to_owned(),
        });
        Ok(())
    }
}

async fn issue(arena: &Arena, project: Uuid) -> Result<(Token, i64), LiveError> {
    let body = json!({"kind": "node", "env_prefix": "race", "ttl_seconds": 3600});
    let path = format!("/v1/projects/{project}/bootstrap-tokens");
    let issued = arena.operate(Method::POST, &path, Some(body)).await?;
    let plaintext = issued["token"].as_str().unwrap_or_default();
    arena.redactor.register(plaintext);
    let expires_at: Timestamp =
        issued["expires_at"].as_str().and_then(|at| at.parse().ok()).unwrap_or_default();
    let token = Token { id: id(&issued, "token_id"), project, plaintext: plaintext.into() };
    Ok((token, expires_at.as_microsecond()))
}

fn id(value: &Value, member: &str) -> Uuid {
    value[member].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The id of the first of a list.
fn first(list: &Value) -> Uuid {
    id(&list[0], "id")
}

/// The addresses of one race: a block of 256 that no other has.
struct Pool {
    base: u32,
    block: String,
}

impl Pool {
    /// As large as that of the simulation, or 256.
    fn numbered(number: u32, simulated: &str) -> Self {
        let prefix = simulated.split_once('/').and_then(|(_, prefix)| prefix.parse::<u8>().ok());
        let prefix = prefix.unwrap_or(24).max(24);
        // 10.64.0.0 and on: behind the seeded Domains' pools.
        let base = u32::from(Ipv4Addr::new(10, 64, 0, 0)) + (number % 0xc000) * 256;
        Self { base, block: format!("{}/{prefix}", Ipv4Addr::from_bits(base)) }
    }

    /// The same part of this pool as this one is of 10.0.0.0/24.
    fn moved(&self, range: &str) -> String {
        let moved = range.split_once('/').and_then(|(address, prefix)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let text = format!("{}/{prefix}", Ipv4Addr::from_bits(self.base + (address.to_bits() & 0xff)));
            Cidr::parse(&text).map(|_| text)
        });
        moved.unwrap_or_else(|| self.block.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_race_has_its_own_block_and_sub_ranges_move_along() {
        let (first, second) = (Pool::numbered(1, "10.0.0.0/29"), Pool::numbered(2, "10.0.0.0/16"));
        assert_eq!((first.block.as_str(), second.block.as_str()), ("10.64.1.0/29", "10.64.2.0/24"));
        assert_eq!(first.moved("10.0.0.4/32"), "10.64.1.4/32");
        assert_eq!(second.moved("10.0.0.0/29"), "10.64.2.0/29");
    }
}
