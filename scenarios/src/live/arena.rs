//! Where races are held: a control plane and its database, with gates, a clock, and a witness in the database; where
//! brokers take part, a control plane for each, and a cluster.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use plexlab_harness::backend::bare::{Bare, BareError, BareSpec, Brokers, digest};
use plexlab_harness::paths::Paths;
use plexlab_harness::proxy::ProxyError;
use plexlab_harness::redact::Redactor;
use plexlab_lab::gates::Held;
use plexlab_lab::{Check, TimedOut, eventually};
use plexlab_race::capsule::Live;
use plexlab_race::sim::choice::Fault;
use reqwest::{Client, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::calls;
use super::changes::Witness;
use super::field::Field;
use super::lifecycle::cluster::ManagementCluster;
use super::programs::AgentProgram;

/// The gates of registrations, decisions about requests, and provisioning, in their order.
pub const GATES: [&str; 10] = [
    "register.received",
    "register.before-lock",
    "register.before-commit",
    "register.after-commit",
    "decision.received",
    "decision.before-commit",
    "decision.after-commit",
    "provision.received",
    "provision.before-commit",
    "provision.after-commit",
];
/// The gates of races about a provisioned Resource, which are never open.
pub const LIFE_GATES: [&str; 15] = [
    "register.received",
    "register.before-lock",
    "register.before-commit",
    "register.after-commit",
    "delete.received",
    "delete.before-commit",
    "delete.after-commit",
    "broker.before-view",
    "broker.decided",
    "broker.before-mint",
    "broker.before-apply",
    "broker.before-discard",
    "broker.before-move",
    "broker.before-sweep",
    "outbox.before-read",
];
/// How often a broker looks by itself: never in a race, which asks it to.
const BROKER_PERIOD: Duration = Duration::from_secs(86_400);
/// What the last gate's name ends with: behind the commit, before the answer.
pub const AFTER_COMMIT: &str = ".after-commit";
/// How long the control plane may take over one request of the arena's own.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// People who can be held at gates at once: the control plane takes at most 90 connections.
pub(super) const MOST_PEOPLE: usize = 80;
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
    /// The management cluster did not start, or cannot be used.
    #[error("start the management cluster: {0}")]
    Cluster(String),
    /// The management cluster does not answer the arena.
    #[error("ask the management cluster: {0}")]
    Kube(#[from] kube::Error),
    /// Nobody could be held at a gate: all connections would be taken.
    #[error("{0} people at once are too many for a race that holds them at gates; at most {MOST_PEOPLE}")]
    TooMany(usize),
}

/// How often a database that was out of space may go down before it takes a commit.
const TRIES: usize = 5;

/// What an arena is to be.
#[derive(Debug, Clone)]
pub struct ArenaSpec {
    /// The control plane, or one of several, and the database.
    pub bare: BareSpec,
    /// How many brokers take part; with any there is a cluster.
    pub brokers: u16,
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
    /// Where substrates are, if there are any.
    cluster: Option<ManagementCluster>,
    /// Whether each broker has a view of the cluster.
    pub(super) listed: Vec<bool>,
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
        spec: ArenaSpec,
        agents: Option<AgentProgram>,
        paths: &Paths,
    ) -> Result<Self, LiveError> {
        let redactor = Redactor::default();
        let mut bare = spec.bare;
        let cluster = match spec.brokers {
            0 => None,
            _ => Some(ManagementCluster::start(paths).await?),
        };
        bare.brokers = cluster.as_ref().map(|cluster| Brokers {
            count: spec.brokers.into(),
            kubeconfig: cluster.kubeconfig(),
            period: BROKER_PERIOD,
            closed_gates: LIFE_GATES.to_vec(),
        });
        let bare = Bare::start(bare, paths, &redactor).await?;
        let witness = Witness::install(bare.dsn().expose_secret()).await?;
        let http = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let callers = calls::client()?;
        Ok(Self {
            bare,
            redactor,
            witness,
            agents,
            callers,
            listed: vec![false; spec.brokers.into()],
            // Those of a race with a cluster are closed from the start.
            gates_closed: cluster.is_some(),
            cluster,
            http,
            races: 0,
            digests: OnceLock::new(),
            ahead: 0,
        })
    }

    /// Stops everything and removes every file.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn stop(self) -> std::io::Result<()> {
        let stopped = self.bare.stop().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        stopped
    }

    /// The cluster of races with brokers.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn cluster(&self) -> Result<&ManagementCluster, LiveError> {
        self.cluster.as_ref().ok_or_else(|| LiveError::Cluster("this race has none".to_owned()))
    }

    /// Asks a control plane, and expects success.
    ///
    /// # Errors
    /// When it refuses, or does not answer.
    pub(super) async fn ask(
        &self,
        control_plane: usize,
        method: Method,
        path: &str,
        bearer: Option<&SecretString>,
        body: Option<Value>,
    ) -> Result<Value, LiveError> {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.bare.url_of(control_plane)));
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
    ///
    /// # Errors
    /// When the control plane refuses, or does not answer.
    pub(super) async fn operate(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, LiveError> {
        let bearer = Some(&self.bare.secrets.operator_token);
        self.ask(0, method, path, bearer, body).await
    }

    /// The bearer of people in a race.
    pub fn bearer(&self) -> SecretString {
        self.bare.secrets.operator_token.clone()
    }

    /// The number of a race that begins.
    pub(super) fn next_race(&mut self) -> u32 {
        self.races += 1;
        self.races
    }

    /// Closes the gates, or opens them.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub async fn set_gates(&mut self, closed: bool) -> Result<(), LiveError> {
        if self.gates_closed == closed {
            return Ok(());
        }
        for gate in GATES {
            let body = json!({"closed": closed});
            self.ask(0, Method::PUT, &format!("/__lab/gates/{gate}"), None, Some(body)).await?;
        }
        self.gates_closed = closed;
        Ok(())
    }

    /// Who waits at a gate of the first control plane, in order of arrival.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub async fn waiting(&self) -> Result<Vec<Held>, LiveError> {
        self.waiting_at(0).await
    }

    /// The same of any control plane.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn waiting_at(&self, control_plane: usize) -> Result<Vec<Held>, LiveError> {
        let list = self.ask(control_plane, Method::GET, "/__lab/gates", None, None).await?;
        Ok(serde_json::from_value(list["waiting"].clone()).unwrap_or_default())
    }

    /// Lets one go on that waits at a control plane's gate.
    ///
    /// # Errors
    /// When it does not wait.
    pub async fn release(&self, control_plane: usize, id: u64) -> Result<(), LiveError> {
        let path = format!("/__lab/gates/waiting/{id}");
        self.ask(control_plane, Method::POST, &path, None, None).await.map(drop)
    }

    /// Seconds that the control planes' clocks are ahead.
    pub fn ahead(&self) -> i64 {
        self.ahead
    }

    /// Has the control planes' clocks be so many seconds ahead.
    ///
    /// # Errors
    /// When a control plane does not answer.
    pub async fn set_clock(&mut self, ahead: i64) -> Result<(), LiveError> {
        for control_plane in 0..self.bare.count() {
            self.advance(control_plane, ahead - self.ahead).await?;
        }
        self.ahead = ahead;
        Ok(())
    }

    async fn advance(&self, control_plane: usize, seconds: i64) -> Result<(), LiveError> {
        let body = json!({"advance_seconds": seconds});
        if seconds != 0 {
            self.ask(control_plane, Method::POST, "/__lab/clock", None, Some(body)).await?;
        }
        Ok(())
    }

    /// Kills a control plane and starts it again, with its gates and its clock as they were.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart_control_plane(&mut self, number: usize) -> Result<(), LiveError> {
        self.bare.kill_control_plane(number).await;
        if self.witness.connections().await.is_err() {
            self.look_anew().await?;
        }
        // What it had begun is over before anything else begins.
        let (witness, several) = (&self.witness, self.bare.count() > 1);
        eventually("the killed control plane's connections to be gone", PATIENCE, || async {
            // Of several, the others keep theirs. Only the first is asked by people: of the others nobody is in a transaction
            // at a gate.
            let left = match (several, number) {
                (false, _) => witness.connections().await,
                (true, 0) => witness.busy().await,
                (true, _) => Ok(0),
            };
            match left {
                Ok(0) => Check::Done(()),
                Ok(left) => Check::NotYet(format!("{left} are open")),
                Err(error) => Check::NotYet(error.to_string()),
            }
        })
        .await?;
        self.bare.start_control_plane(number).await?;
        self.advance(number, self.ahead).await?;
        if self.cluster.is_some() {
            return Ok(());
        }
        let closed = std::mem::take(&mut self.gates_closed);
        self.set_gates(closed).await
    }

    /// Has the database server crash and recover.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn crash_database(&mut self) -> Result<(), LiveError> {
        self.bare.crash_database().await?;
        self.look_anew().await
    }

    /// The witness connects anew. One of a database that is gone may answer for a moment yet, so it is not asked.
    async fn look_anew(&mut self) -> Result<(), LiveError> {
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
        // This is not to succeed.
        let _ = self.witness.commit().await;
        self.recover_disk().await
    }

    /// Has a fault of the control plane or its database come and pass; whether it was one.
    ///
    /// # Errors
    /// When either does not come back.
    pub async fn suffers(&mut self, fault: Fault) -> Result<bool, LiveError> {
        match fault {
            Fault::KillServer => self.restart_control_plane(0).await?,
            Fault::RestartDatabase => self.crash_database().await?,
            Fault::DiskFull => self.run_out_of_space().await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the database has noticed that there is no space: it is down, about to be, or up again by itself (a server
    /// does that whose recovery needs no more than there is) without the witness's connection.
    pub async fn is_going_down(&self) -> bool {
        self.bare.database_ended().is_some() || self.witness.connections().await.is_err()
    }

    /// Waits until a server without space is down, and has it recover with space.
    ///
    /// # Errors
    /// When it does not go down, or does not come back.
    pub async fn recover_disk(&mut self) -> Result<(), LiveError> {
        let arena = &*self;
        eventually("the database without space to go down", PATIENCE, || async {
            if arena.is_going_down().await {
                return Check::Done(());
            }
            // Who was refused may have met a table that could not grow, which the server outlives.
            let _ = arena.witness.commit().await;
            Check::NotYet("it runs and takes commits".to_owned())
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
        for _ in 0..TRIES {
            // Whoever could not write still has the lock for it, so a server that takes a commit does not go down any more.
            if self.witness.commit().await.is_ok() {
                return Ok(());
            }
            let looked = self.look_anew().await;
            match self.bare.database_ended() {
                // It was about to go down when it was given space.
                Some(_) => self.bare.free_disk().await?,
                None => looked?,
            }
        }
        self.look_anew().await?;
        Ok(self.witness.commit().await?)
    }

    /// What a capsule says of a race, besides its history.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn describe(&self, field: &Field) -> Result<Live, LiveError> {
        const TABLES: [(&str, &str); 5] = [
            (
                "bootstrap_tokens",
                "SELECT (to_jsonb(t) - 'token_hash')::text FROM plexsphere.bootstrap_tokens t
                  WHERE project_id = ANY($1) ORDER BY id",
            ),
            (
                "credential_assignments",
                "SELECT to_jsonb(a)::text FROM plexsphere.credential_assignments a
                  WHERE project_id = ANY($1) ORDER BY id",
            ),
            (
                "nodes",
                "SELECT to_jsonb(n)::text FROM plexsphere.nodes n WHERE project_id = ANY($1) ORDER BY id",
            ),
            (
                "provisioned_resources",
                "SELECT to_jsonb(r)::text FROM plexsphere.provisioned_resources r
                  WHERE project_id = ANY($1) ORDER BY id",
            ),
            (
                "resources",
                "SELECT to_jsonb(r)::text FROM plexsphere.resources r WHERE project_id = ANY($1) ORDER BY id",
            ),
        ];
        let mut rows = BTreeMap::new();
        for (table, query) in TABLES {
            let found = self.witness.rows(query, &field.projects).await?;
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
        let mut objects: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        if let Some(cluster) = &self.cluster {
            for resource in &field.resources {
                let found = cluster.describe(resource).await?;
                objects.entry("composites".to_owned()).or_default().extend(found);
            }
        }
        Ok(Live { versions, digests: self.digests().clone(), logs, rows, objects })
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
