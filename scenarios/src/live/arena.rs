//! Where races are held: a control plane and its database, with gates, a clock, and a witness in the database.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use plexlab_harness::backend::bare::{Bare, BareError, BareSpec, digest};
use plexlab_harness::paths::Paths;
use plexlab_harness::proxy::ProxyError;
use plexlab_harness::redact::Redactor;
use plexlab_lab::{Check, TimedOut, eventually};
use plexlab_race::capsule::Live;
use plexlab_race::history::{Ground, TokenGround};
use plexlab_race::sim::choice::Fault;
use plexlab_race::sim::enrolment::Setup;
use plexlab_rules::mesh::Cidr;
use reqwest::{Client, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::calls;
use super::changes::Witness;
use super::programs::AgentProgram;

/// The gates of a registration, in their order.
pub const GATES: [&str; 4] =
    ["register.received", "register.before-lock", "register.before-commit", LAST_GATE];
/// Behind the commit, before the answer.
pub const LAST_GATE: &str = "register.after-commit";
/// How long the control plane may take over one request of the arena's own.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of each log that a capsule keeps.
pub(super) const LINES: usize = 40;

/// A live race could not be held; no rule was judged.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The control plane or its database.
    #[error(transparent)]
    Bare(#[from] BareError),
    /// The database does not answer the witness.
    #[error("watch the database: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// The control plane does not answer the arena.
    #[error("ask the control plane: {0}")]
    Http(#[from] reqwest::Error),
    /// The control plane refuses what a race begins with.
    #[error("{method} {path}: status {status}: {body}")]
    Refused {
        /// HTTP method.
        method: Method,
        /// Path.
        path: String,
        /// Status.
        status: u16,
        /// Body.
        body: String,
    },
    /// The proxy in front of an agent.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// An agent's process.
    #[error("{what}: {source}")]
    Agent {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// An answer that no rule speaks of.
    #[error("expected an answer that the contract gives to {call}, seen status {status}: {body}")]
    Unexpected {
        /// What was asked.
        call: String,
        /// Status.
        status: u16,
        /// Body.
        body: String,
    },
    /// The control plane did not come to rest.
    #[error(transparent)]
    Late(#[from] TimedOut),
    /// The scenario is about something else than agents and tokens.
    #[error("the race {0} has no live form: it is not about agents and tokens")]
    NotLive(&'static str),
}

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

/// What one race begins with.
#[derive(Debug, Clone)]
pub struct Field {
    /// Where its clock begins, in microseconds since the epoch.
    pub base: i64,
    /// The ground as it came to be.
    pub ground: Ground,
    /// Its tokens, by number.
    pub tokens: Vec<Token>,
    /// What begins all its handles and nonces.
    pub prefix: String,
}

/// Somebody at a closed gate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Held {
    /// To let it go.
    pub id: u64,
    /// Which gate.
    pub gate: String,
    /// The handle of a registration.
    pub who: String,
}

/// The arena. Many races are held in it, one after another; each has a Domain of its own.
#[derive(Debug)]
pub struct Arena {
    /// The processes.
    pub bare: Bare,
    /// Secrets out of every text.
    pub redactor: Redactor,
    /// The database.
    pub witness: Witness,
    /// What agents are; none means connections of this process.
    pub agents: Option<AgentProgram>,
    /// For calls that are raced, one connection each.
    pub callers: Client,
    /// For the arena's own.
    http: Client,
    races: u32,
    /// Of the programs that run; reading them takes a moment.
    digests: OnceLock<BTreeMap<String, String>>,
    /// Seconds that the control plane's clock is ahead.
    ahead: i64,
    gates_closed: bool,
}

impl Arena {
    /// Starts everything.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start(
        spec: BareSpec,
        agents: Option<AgentProgram>,
        paths: &Paths,
    ) -> Result<Self, LiveError> {
        let redactor = Redactor::default();
        let bare = Bare::start(spec, paths, &redactor).await?;
        let witness = Witness::install(bare.dsn().expose_secret()).await?;
        let http = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let callers = calls::client()?;
        Ok(Self {
            bare,
            redactor,
            witness,
            agents,
            callers,
            http,
            races: 0,
            digests: OnceLock::new(),
            ahead: 0,
            gates_closed: false,
        })
    }

    /// Stops everything and removes every file.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn stop(self) -> std::io::Result<()> {
        self.bare.stop().await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&SecretString>,
        body: Option<Value>,
    ) -> Result<Value, LiveError> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.bare.url()));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            let (path, body) = (path.to_owned(), self.redactor.redact(&text).into_owned());
            return Err(LiveError::Refused { method, path, status: status.as_u16(), body });
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// As the platform's operator, who manages the Domains that races are held in.
    async fn operate(&self, method: Method, path: &str, body: Value) -> Result<Value, LiveError> {
        let bearer = Some(&self.bare.secrets.operator_token);
        self.ask(method, path, bearer, Some(body)).await
    }

    /// The bearer of people in a race.
    pub fn bearer(&self) -> SecretString {
        self.bare.secrets.operator_token.clone()
    }

    /// A Domain with Projects and tokens as this race begins.
    ///
    /// # Errors
    /// When the control plane refuses one.
    pub async fn field(&mut self, setup: &Setup) -> Result<Field, LiveError> {
        self.set_clock(0).await?;
        self.races += 1;
        let prefix = format!("r{}", self.races);
        let mut ground = setup.ground.clone();
        let pool = Pool::numbered(self.races, ground.pools.first().map_or("", String::as_str));
        ground.pools = vec![pool.block.clone()];
        for project in &mut ground.projects {
            project.sub_range = project.sub_range.as_deref().map(|range| pool.moved(range));
        }
        let body = json!({"name": prefix, "slug": prefix, "mesh_cidr": pool.block});
        let domain = id(&self.operate(Method::POST, "/v1/domains", body).await?, "id");
        let mut projects = Vec::new();
        for (number, project) in ground.projects.iter().enumerate() {
            let mut body =
                json!({"domain_id": domain, "name": format!("p{number}"), "slug": format!("p{number}")});
            if let Some(range) = &project.sub_range {
                body["sub_range_cidr"] = json!(range);
            }
            projects.push(id(&self.operate(Method::POST, "/v1/projects", body).await?, "id"));
        }
        let base = Timestamp::now().as_microsecond();
        let mut tokens = Vec::new();
        for token in &mut ground.tokens {
            let project = projects.get(token.project as usize).copied().unwrap_or_default();
            let issued = self.issue(project).await?;
            *token = TokenGround { expires_at: issued.1 - base, ..*token };
            tokens.push(issued.0);
        }
        Ok(Field { base, ground, tokens, prefix })
    }

    async fn issue(&self, project: Uuid) -> Result<(Token, i64), LiveError> {
        let body = json!({"kind": "node", "env_prefix": "race", "ttl_seconds": 3600});
        let path = format!("/v1/projects/{project}/bootstrap-tokens");
        let issued = self.operate(Method::POST, &path, body).await?;
        let plaintext = issued["token"].as_str().unwrap_or_default();
        self.redactor.register(plaintext);
        let expires_at: Timestamp =
            issued["expires_at"].as_str().and_then(|at| at.parse().ok()).unwrap_or_default();
        let token = Token { id: id(&issued, "token_id"), project, plaintext: plaintext.into() };
        Ok((token, expires_at.as_microsecond()))
    }

    /// Closes the gates of registrations, or opens them.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub async fn set_gates(&mut self, closed: bool) -> Result<(), LiveError> {
        for gate in GATES {
            let body = json!({"closed": closed});
            self.ask(Method::PUT, &format!("/__lab/gates/{gate}"), None, Some(body)).await?;
        }
        self.gates_closed = closed;
        Ok(())
    }

    /// Who waits at a gate, in order of arrival.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub async fn waiting(&self) -> Result<Vec<Held>, LiveError> {
        let list = self.ask(Method::GET, "/__lab/gates", None, None).await?;
        Ok(serde_json::from_value(list["waiting"].clone()).unwrap_or_default())
    }

    /// Lets one go on.
    ///
    /// # Errors
    /// When it does not wait.
    pub async fn release(&self, id: u64) -> Result<(), LiveError> {
        self.ask(Method::POST, &format!("/__lab/gates/waiting/{id}"), None, None).await.map(drop)
    }

    /// Seconds that the control plane's clock is ahead.
    pub fn ahead(&self) -> i64 {
        self.ahead
    }

    /// Has the control plane's clock be so many seconds ahead.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub async fn set_clock(&mut self, ahead: i64) -> Result<(), LiveError> {
        let body = json!({"advance_seconds": ahead - self.ahead});
        if ahead != self.ahead {
            self.ask(Method::POST, "/__lab/clock", None, Some(body)).await?;
            self.ahead = ahead;
        }
        Ok(())
    }

    /// Kills the control plane and starts it again, with its gates and its clock as they were.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart_control_plane(&mut self) -> Result<(), LiveError> {
        self.bare.kill_control_plane().await;
        // What it had begun is over before anything else begins.
        let witness = &self.witness;
        eventually("the killed control plane's connections to be gone", PATIENCE, || async {
            match witness.connections().await {
                Ok(0) => Check::Done(()),
                Ok(left) => Check::NotYet(format!("{left} are open")),
                Err(error) => Check::NotYet(error.to_string()),
            }
        })
        .await?;
        self.bare.start_control_plane().await?;
        let (ahead, closed) = (std::mem::take(&mut self.ahead), self.gates_closed);
        self.set_clock(ahead).await?;
        if closed { self.set_gates(true).await } else { Ok(()) }
    }

    /// Has the database server crash and recover.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn crash_database(&mut self) -> Result<(), LiveError> {
        self.bare.crash_database().await?;
        let dsn = self.bare.dsn().clone();
        Ok(self.witness.reconnect(dsn.expose_secret()).await?)
    }

    /// Has the disk under the database be full: the next commit takes the server down (`PANIC`), and it does not come up
    /// before there is space.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn fill_disk(&mut self) -> Result<(), LiveError> {
        let largest = self.bare.longest_on_full_disk();
        self.witness.log_beyond(largest).await?;
        Ok(self.bare.fill_disk(largest)?)
    }

    /// The same, and somebody commits at once; then there is space again.
    ///
    /// # Errors
    /// When the server does not go down, or does not come back.
    pub async fn run_out_of_space(&mut self) -> Result<(), LiveError> {
        self.fill_disk().await?;
        self.witness.commit_in_vain().await;
        self.recover_disk().await
    }

    /// Has a fault of the control plane or its database come and pass; whether it was one.
    ///
    /// # Errors
    /// When either does not come back.
    pub async fn suffers(&mut self, fault: Fault) -> Result<bool, LiveError> {
        match fault {
            Fault::KillServer => self.restart_control_plane().await?,
            Fault::RestartDatabase => self.crash_database().await?,
            Fault::DiskFull => self.run_out_of_space().await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the database has noticed that there is no space: it is down, or about to be.
    pub async fn is_going_down(&self) -> bool {
        self.bare.database_ended().is_some() || self.witness.connections().await.is_err()
    }

    /// Waits until a server without space is down, and has it recover with space.
    ///
    /// # Errors
    /// When it does not go down, or does not come back.
    pub async fn recover_disk(&mut self) -> Result<(), LiveError> {
        let (bare, witness) = (&self.bare, &self.witness);
        eventually("the database without space to go down", PATIENCE, || async {
            if bare.database_ended().is_some() {
                return Check::Done(());
            }
            // Who was refused may have met a table that could not grow, which the server outlives.
            witness.commit_in_vain().await;
            match witness.connections().await {
                // A server whose recovery needs no more than there is comes up again by itself.
                Err(_) => Check::Done(()),
                Ok(_) => Check::NotYet("it runs and takes commits".to_owned()),
            }
        })
        .await?;
        self.space_again().await
    }

    /// There is space again, whether anybody noticed that there was none or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn space_again(&mut self) -> Result<(), LiveError> {
        self.bare.free_disk().await?;
        if self.witness.connections().await.is_ok() {
            return Ok(());
        }
        let dsn = self.bare.dsn().clone();
        match self.witness.reconnect(dsn.expose_secret()).await {
            // It was about to go down when it was given space.
            Err(_) if self.bare.database_ended().is_some() => {
                self.bare.free_disk().await?;
                Ok(self.witness.reconnect(dsn.expose_secret()).await?)
            }
            reconnected => Ok(reconnected?),
        }
    }

    /// What a capsule says of a race, besides its history.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn describe(&self, field: &Field) -> Result<Live, LiveError> {
        const TABLES: [(&str, &str); 3] = [
            (
                "bootstrap_tokens",
                "SELECT (to_jsonb(t) - 'token_hash')::text FROM plexsphere.bootstrap_tokens t
                  WHERE project_id = ANY($1) ORDER BY id",
            ),
            (
                "nodes",
                "SELECT to_jsonb(n)::text FROM plexsphere.nodes n WHERE project_id = ANY($1) ORDER BY id",
            ),
            (
                "resources",
                "SELECT to_jsonb(r)::text FROM plexsphere.resources r WHERE project_id = ANY($1) ORDER BY id",
            ),
        ];
        let projects: Vec<Uuid> = field.tokens.iter().map(|token| token.project).collect();
        let mut rows = BTreeMap::new();
        for (table, query) in TABLES {
            let found = self.witness.rows(query, &projects).await?;
            let text = serde_json::to_string(&found).unwrap_or_default();
            let clean = serde_json::from_str(&self.redactor.redact(&text)).unwrap_or_default();
            rows.insert(table.to_owned(), clean);
        }
        let versions = BTreeMap::from([
            ("plexlab".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("machine".to_owned(), std::env::consts::ARCH.to_owned()),
            ("postgres".to_owned(), self.witness.version().await?),
        ]);
        let logs = self.bare.logs(LINES, &self.redactor).into_iter().collect();
        Ok(Live { versions, digests: self.digests().clone(), logs, rows, objects: BTreeMap::new() })
    }

    /// SHA-256 of each program that runs.
    pub fn digests(&self) -> &BTreeMap<String, String> {
        self.digests.get_or_init(|| {
            let mut digests: BTreeMap<String, String> = self.bare.digests().into_iter().collect();
            if let Some(agents) = &self.agents {
                digests.extend(digest(&agents.program.0).map(|digest| ("plexd".to_owned(), digest)));
            }
            digests
        })
    }
}

fn id(value: &Value, member: &str) -> Uuid {
    value[member].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
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
