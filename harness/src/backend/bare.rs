//! Control planes and their database without a cluster of their own: real processes that can be killed and started again.
//! There is one control plane, or, where brokers are at work, one for each broker.
//!
//! ```text
//! <state>/bare/<random>/       as in `place`: what a killed process leaves, the next start removes
//! ├── owner, operator          tokens of the seeded people (0600)
//! ├── address                  where the control plane listens; address-1 that of a second one
//! ├── control-plane.log        control-plane-1.log that of a second one
//! └── postgres/                the database's files and log
//! ```

mod control_plane;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plexlab_postgres::{Binaries, Cache, Config, Owner, Server, Template};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use self::control_plane::ControlPlane;
use super::addresses::{AddressBlock, AllTaken};
use crate::paths::{Paths, write_private_file};
use crate::place::{Place, PlaceError};
use crate::redact::Redactor;
use crate::stack::secrets::Secrets;

/// How long either may take to answer, recovery after a crash included.
const WITHIN: Duration = Duration::from_secs(60);
/// Bytes that the database's log may grow by while the disk is full.
const ROOM_FOR_WORDS: u64 = 64 << 10;
/// A file of the database's log of changes has a MiB: half of it is always beyond the limit.
const MOST_WITHOUT_SPACE: u64 = 512 << 10;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct BareSpec {
    /// Most connections of the control plane to its database; 0 leaves it to the control plane.
    pub connections: usize,
    /// What is wrong with the control plane on purpose.
    pub planted_defect: Option<String>,
    /// Whether there is a Cloud with a credential and a blueprint from the start.
    pub catalog: bool,
    /// What drives provisioned Resources, if anything does.
    pub brokers: Option<Brokers>,
}

/// Brokers, each in a control plane of its own on the same database.
#[derive(Debug, Clone)]
pub struct Brokers {
    /// How many there are.
    pub count: usize,
    /// Admin access to the management cluster.
    pub kubeconfig: PathBuf,
    /// How often each looks when nothing tells it to.
    pub period: Duration,
    /// Gates that are closed from the start.
    pub closed_gates: Vec<&'static str>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// No directory of its own.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// No addresses are left.
    #[error(transparent)]
    Addresses(#[from] AllTaken),
    /// A file or a process was refused by the system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// There is no database server, or it does not start.
    #[error("start the database: {0}")]
    Postgres(String),
    /// The secrets could not be drawn.
    #[error("draw secrets: {0}")]
    Secrets(String),
    /// The control plane ended, or did not answer in time.
    #[error("start the control plane: {0}")]
    ControlPlane(String),
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> BareError {
    let what = what.into();
    move |source| BareError::System { what, source }
}

/// A control plane, or several, with their database.
pub struct Bare {
    control_planes: Vec<ControlPlane>,
    postgres: Option<Server>,
    binaries: Binaries,
    template: Template,
    database: SocketAddr,
    dsn: SecretString,
    spec: BareSpec,
    http: reqwest::Client,
    /// The seeded people's tokens.
    pub secrets: Secrets,
    place: Place,
    _addresses: AddressBlock,
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Bare {
    /// Starts all, and returns when every control plane answers.
    ///
    /// # Errors
    /// [`BareError`].
    pub async fn start(spec: BareSpec, paths: &Paths, redactor: &Redactor) -> Result<Self, BareError> {
        open_many_files();
        let place = Place::take(&paths.state.join("bare"))?;
        let secrets = Secrets::draw(&Default::default(), redactor)
            .map_err(|error| BareError::Secrets(error.to_string()))?;
        let (owner, operator) = (place.dir.join("owner"), place.dir.join("operator"));
        for (path, token) in [(&owner, &secrets.owner_token), (&operator, &secrets.operator_token)] {
            write_private_file(path, token.expose_secret().as_bytes())
                .map_err(system(format!("write {}", path.display())))?;
        }
        let refused = |error: &dyn std::fmt::Display| BareError::Postgres(error.to_string());
        let cache = Cache::at(paths.cache.clone());
        let binaries = Binaries::find_or_download(&cache).await.map_err(|error| refused(&error))?;
        let programs = binaries.clone();
        let template = tokio::task::spawn_blocking(move || {
            Template::ensure(&cache, &programs, &Owner::named("plexsphere"))
        });
        let template = template.await.map_err(|error| refused(&error))?.map_err(|error| refused(&error))?;
        // An address of its own: while one of the two is down, nobody takes its port.
        let addresses = AddressBlock::take()?;
        let any = SocketAddr::from((addresses.servers(), 0));
        let server = database(&binaries, &template, &place.dir, any).await?;
        let (database, dsn) = (server.address(), server.url());
        redactor.register(dsn.expose_secret());
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|error| BareError::ControlPlane(error.to_string()))?;
        let count = spec.brokers.as_ref().map_or(1, |brokers| brokers.count.max(1));
        let mut bare = Self {
            control_planes: (0..count).map(|number| ControlPlane::numbered(number, any)).collect(),
            postgres: Some(server),
            binaries,
            template,
            database,
            dsn,
            spec,
            http,
            secrets,
            place,
            _addresses: addresses,
        };
        // One after another: the first makes the tables.
        for number in 0..count {
            bare.start_control_plane(number).await?;
        }
        Ok(bare)
    }

    /// Base URL of the control plane, the first of several.
    pub fn url(&self) -> String {
        self.url_of(0)
    }

    /// Base URL of one of several control planes; of the first where there is none of this number.
    pub fn url_of(&self, number: usize) -> String {
        let one = self.control_planes.get(number).or_else(|| self.control_planes.first());
        one.map_or_else(String::new, |one| format!("http://{}", one.address))
    }

    /// How many control planes there are.
    pub fn count(&self) -> usize {
        self.control_planes.len()
    }

    /// Where the database is, with the password.
    pub fn dsn(&self) -> &SecretString {
        &self.dsn
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.place.dir
    }

    /// Kills a control plane as `kill -9` does; the kernel breaks its connections.
    pub async fn kill_control_plane(&mut self, number: usize) {
        if let Some(control_plane) = self.control_planes.get_mut(number) {
            control_plane.kill().await;
        }
    }

    /// Starts a control plane at the address that it had, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start_control_plane(&mut self, number: usize) -> Result<(), BareError> {
        let Some(control_plane) = self.control_planes.get_mut(number) else { return Ok(()) };
        control_plane.start(&self.place.dir, &self.spec, &self.dsn, &self.http).await
    }

    /// Kills the database server as a crash does, starts it again on its data, and waits until every control plane
    /// answers.
    ///
    /// # Errors
    /// When either does not come back.
    pub async fn crash_database(&mut self) -> Result<(), BareError> {
        if let Some(server) = self.postgres.take() {
            server.kill().await;
        }
        let server = database(&self.binaries, &self.template, &self.place.dir, self.database).await?;
        self.postgres = Some(server);
        for control_plane in &self.control_planes {
            control_plane.answering(&self.place.dir, &self.http).await?;
        }
        Ok(())
    }

    /// How long a file of the database can be on a full disk: a little longer than the server's log, whose last words are
    /// to be read. In bytes.
    pub fn longest_on_full_disk(&self) -> u64 {
        let log = self.postgres.as_ref().and_then(|server| std::fs::metadata(server.log()).ok());
        (log.map_or(0, |meta| meta.len()) + ROOM_FOR_WORDS).min(MOST_WITHOUT_SPACE)
    }

    /// Has the disk under the database be full: no file of it can be written beyond so many bytes.
    ///
    /// # Errors
    /// When the system refuses, or the database is down.
    pub fn fill_disk(&self, largest: u64) -> Result<(), BareError> {
        let server = self.postgres.as_ref();
        let server = server.ok_or_else(|| BareError::Postgres("there is none to fill the disk of".into()))?;
        server.limit_files(Some(largest)).map_err(system("limit the database's files"))
    }

    /// How the database server ended, if it did so by itself.
    pub fn database_ended(&self) -> Option<String> {
        self.postgres.as_ref().and_then(Server::ended)
    }

    /// There is space again: a server that went down for want of it is started and recovers, and the control plane
    /// answers; one that did not notice goes on.
    ///
    /// # Errors
    /// When either does not come back.
    pub async fn free_disk(&mut self) -> Result<(), BareError> {
        match &self.postgres {
            Some(server) if server.ended().is_none() => {
                server.limit_files(None).map_err(system("lift the limit of the database's files"))
            }
            _ => self.crash_database().await,
        }
    }

    /// The last lines of each log, without secrets.
    pub fn logs(&self, lines: usize, redactor: &Redactor) -> Vec<(String, Vec<String>)> {
        let control_planes = self.control_planes.iter();
        let logs = control_planes
            .map(|control_plane| (control_plane.name(), control_plane.log(&self.place.dir)))
            .chain([("postgres".to_owned(), self.place.dir.join("postgres/log"))]);
        let last = |path: &Path| {
            let text = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let all: Vec<&str> = text.lines().collect();
            let last = &all[all.len().saturating_sub(lines)..];
            last.iter().map(|line| redactor.redact(line).into_owned()).collect()
        };
        logs.map(|(name, path)| (name, last(&path))).collect()
    }

    /// SHA-256 of the programs that run.
    pub fn digests(&self) -> Vec<(String, String)> {
        let programs = [
            ("control-plane", PathBuf::from("/proc/self/exe")),
            ("postgres", self.binaries.program("postgres")),
        ];
        programs.into_iter().filter_map(|(name, path)| Some((name.to_owned(), digest(&path)?))).collect()
    }

    /// Stops all and removes every file.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn stop(mut self) -> io::Result<()> {
        for control_plane in &mut self.control_planes {
            control_plane.kill().await;
        }
        if let Some(server) = self.postgres.take() {
            server.stop().await;
        }
        self.place.remove()
    }
}

/// SHA-256 of a program, in hexadecimal digits; none when it cannot be read.
pub fn digest(program: &Path) -> Option<String> {
    let digest = Sha256::digest(std::fs::read(program).ok()?);
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A thousand agents are as many connections on either side; children inherit the limit.
fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn database(
    binaries: &Binaries,
    template: &Template,
    directory: &Path,
    listen: SocketAddr,
) -> Result<Server, BareError> {
    let config = Config { directory: directory.join("postgres"), listen, owner: Owner::named("plexsphere") };
    Server::start(binaries, template, config).await.map_err(|error| BareError::Postgres(error.to_string()))
}
