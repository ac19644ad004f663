//! A control plane and its database without a cluster: two real processes that can be killed and started again.
//!
//! ```text
//! <state>/bare/<random>/       as in `place`: what a killed process leaves, the next start removes
//! ├── owner, operator          tokens of the seeded people (0600)
//! ├── address                  where the control plane listens
//! ├── control-plane.log
//! └── postgres/                the database's files and log
//! ```

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plexlab_lab::{Check, eventually};
use plexlab_postgres::{Binaries, Cache, Config, Owner, Server, Template};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::addresses::{AddressBlock, AllTaken};
use super::containers::own_program;
use super::supervised::{CommandLine, Supervised};
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
/// The variable without which the control plane refuses a planted defect.
const DEFECTS_ALLOWED: &str = "PLEXLAB_PLANT_DEFECTS";

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct BareSpec {
    /// Most connections of the control plane to its database; 0 leaves it to the control plane.
    pub connections: usize,
    /// What is wrong with the control plane on purpose.
    pub planted_defect: Option<String>,
    /// Whether there is a Cloud with a credential and a blueprint from the start.
    pub catalog: bool,
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

/// A control plane with its database.
pub struct Bare {
    control_plane: Option<Supervised>,
    postgres: Option<Server>,
    binaries: Binaries,
    template: Template,
    address: SocketAddr,
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
    /// Starts both, and returns when the control plane answers.
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
        let mut bare = Self {
            control_plane: None,
            postgres: Some(server),
            binaries,
            template,
            address: any,
            database,
            dsn,
            spec,
            http,
            secrets,
            place,
            _addresses: addresses,
        };
        bare.start_control_plane().await?;
        Ok(bare)
    }

    /// Base URL of the control plane.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the database is, with the password.
    pub fn dsn(&self) -> &SecretString {
        &self.dsn
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.place.dir
    }

    /// Kills the control plane as `kill -9` does; the kernel breaks its connections.
    pub async fn kill_control_plane(&mut self) {
        if let Some(running) = self.control_plane.take() {
            // Waits for the process's end, which a thread of the runtime must not.
            let _ = tokio::task::spawn_blocking(move || drop(running)).await;
        }
    }

    /// Starts the control plane at the address that it had, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start_control_plane(&mut self) -> Result<(), BareError> {
        let file = self.place.dir.join("address");
        let mut program = own_program().into_iter();
        let executable = program.next().map(PathBuf::from).unwrap_or_default();
        let listen = self.address.to_string();
        let catalog = if self.spec.catalog { "true" } else { "false" };
        let mut arguments: Vec<OsString> = program.collect();
        arguments
            .extend(["control-plane", "--listen", &listen, "--seed-catalog", catalog].map(OsString::from));
        for (name, path) in [
            ("--owner-token-file", self.place.dir.join("owner")),
            ("--operator-token-file", self.place.dir.join("operator")),
            ("--address-file", file.clone()),
        ] {
            arguments.extend([name.into(), path.into_os_string()]);
        }
        if self.spec.connections > 0 {
            arguments.extend(["--connections".into(), self.spec.connections.to_string().into()]);
        }
        let mut environment = vec![("DATABASE_URL", OsString::from(self.dsn.expose_secret()))];
        if let Some(defect) = &self.spec.planted_defect {
            arguments.extend(["--planted-defect".into(), defect.into()]);
            environment.push((DEFECTS_ALLOWED, "yes".into()));
        }
        let _ = std::fs::remove_file(&file);
        let command = CommandLine {
            name: "control-plane",
            program: executable,
            arguments,
            environment,
            log: self.place.dir.join("control-plane.log"),
        };
        let running = Supervised::start(command).map_err(system("start the control plane"))?;
        self.address = self.answering(&running, &file).await.map_err(BareError::ControlPlane)?;
        self.control_plane = Some(running);
        Ok(())
    }

    async fn answering(&self, running: &Supervised, file: &Path) -> Result<SocketAddr, String> {
        let answering = eventually("the control plane to be healthy", WITHIN, || async {
            if let Some(ended) = running.ended() {
                return Check::Done(Err(ended));
            }
            let address = std::fs::read_to_string(file).ok();
            let Some(address) = address.and_then(|text| text.trim().parse::<SocketAddr>().ok()) else {
                return Check::NotYet("it has no address".to_owned());
            };
            match self.http.get(format!("http://{address}/v1/health")).send().await {
                Ok(answer) if answer.status().is_success() => Check::Done(Ok(address)),
                Ok(answer) => Check::NotYet(format!("status {}", answer.status())),
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        match answering.await {
            Ok(outcome) => outcome,
            Err(late) => Err(format!("{late}; {}", running.last_words())),
        }
    }

    /// Kills the database server as a crash does, starts it again on its data, and waits until the control plane
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
        if let Some(running) = &self.control_plane {
            self.answering(running, &self.place.dir.join("address"))
                .await
                .map_err(BareError::ControlPlane)?;
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
        let logs = [
            ("control-plane", self.place.dir.join("control-plane.log")),
            ("postgres", self.place.dir.join("postgres/log")),
        ];
        let last = |path: &Path| {
            let text = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let all: Vec<&str> = text.lines().collect();
            let last = &all[all.len().saturating_sub(lines)..];
            last.iter().map(|line| redactor.redact(line).into_owned()).collect()
        };
        logs.iter().map(|(name, path)| ((*name).to_owned(), last(path))).collect()
    }

    /// SHA-256 of the programs that run.
    pub fn digests(&self) -> Vec<(String, String)> {
        let programs = [
            ("control-plane", PathBuf::from("/proc/self/exe")),
            ("postgres", self.binaries.program("postgres")),
        ];
        programs.into_iter().filter_map(|(name, path)| Some((name.to_owned(), digest(&path)?))).collect()
    }

    /// Stops both and removes every file.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn stop(mut self) -> io::Result<()> {
        self.kill_control_plane().await;
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
