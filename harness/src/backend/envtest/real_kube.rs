//! Starts a real kube-apiserver with its etcd. The one way to do it: the backend and the measurements share it.
//!
//! ```text
//! <directory>/          0700
//! ├── *.crt, *.key      see `certificates`
//! ├── tokens.csv        users with fixed tokens (0600)
//! ├── etcd/             etcd's data
//! └── etcd.log, kube-apiserver.log
//! ```

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use plexlab_apiserver::kubeconfig::kubeconfig;
use plexlab_lab::{Check, TimedOut, eventually};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::assets::Assets;
use super::certificates::{self, CertificateError};
use super::readyz::Readyz;
use crate::backend::addresses::AddressBlock;
use crate::backend::embedded::client;
use crate::backend::supervised::{CommandLine, Supervised};
use crate::paths::{create_private_dir, write_private_file};

/// How long both may take to be ready; they need a few seconds on two cores.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct RealKubeSpec {
    /// The programs.
    pub assets: Assets,
    /// A directory of its own; made if need be.
    pub directory: PathBuf,
    /// The loopback address that both listen on.
    pub host: Ipv4Addr,
    /// Addresses of Services, in CIDR notation, and the first of them.
    pub services: (String, Ipv4Addr),
    /// Names of users in `system:masters`, beside `admin`.
    pub users: Vec<&'static str>,
}

/// The programs did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum RealKubeError {
    /// A file or directory cannot be used, or no port be had.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// A program ended; with its last words.
    #[error("run the real kube-apiserver: {0}")]
    Ended(String),
    /// It did not become ready.
    #[error("{late}; {words}")]
    Late {
        /// What was waited for.
        late: TimedOut,
        /// The API server's last words.
        words: String,
    },
    /// A client could not be made.
    #[error("connect to the real kube-apiserver: {0}")]
    Client(String),
}

/// A kube-apiserver. Dropping it ends both programs at once.
pub struct RealKube {
    /// Where it answers.
    pub address: SocketAddr,
    /// Its authority, PEM.
    pub ca_pem: String,
    /// When the first program was started.
    pub begun: Instant,
    /// From then to ready; zero when nobody waited for that.
    pub took: Duration,
    /// TLS for the kubelets' API; it demands kube-apiserver's certificate.
    pub kubelet_tls: Arc<rustls::ServerConfig>,
    tokens: Vec<(&'static str, SecretString)>,
    // In this order: the API server goes first.
    api_server: Supervised,
    etcd: Supervised,
}

impl std::fmt::Debug for RealKube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealKube").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RealKube {
    /// Base URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The bearer token of `admin` or of a user that was asked for; none for others.
    pub fn token(&self, user: &str) -> Option<&SecretString> {
        self.tokens.iter().find_map(|(name, token)| (*name == user).then_some(token))
    }

    /// The process ids of both programs.
    pub fn processes(&self) -> [u32; 2] {
        [self.api_server.id(), self.etcd.id()]
    }

    /// How one of the programs ended, if one has ended by itself.
    pub fn ended(&self) -> Option<String> {
        [&self.etcd, &self.api_server].into_iter().find_map(Supervised::ended)
    }

    /// The kubeconfig of `admin` or of a user that was asked for; none for others. It holds the user's token.
    pub fn kubeconfig(&self, user: &str) -> Option<String> {
        let token = self.token(user)?;
        Some(kubeconfig(&self.url(), &self.ca_pem, user, token.expose_secret()))
    }

    /// A client for a user that was asked for.
    ///
    /// # Errors
    /// [`RealKubeError::Client`].
    pub async fn client(&self, user: &str) -> Result<Client, RealKubeError> {
        let text = self.kubeconfig(user).ok_or_else(|| RealKubeError::Client(format!("no user {user}")))?;
        client(&text).await.map_err(|error| RealKubeError::Client(error.to_string()))
    }
}

/// Starts etcd and kube-apiserver and returns when `/readyz` says yes.
///
/// # Errors
/// [`RealKubeError`].
pub async fn start(spec: RealKubeSpec) -> Result<RealKube, RealKubeError> {
    let mut kube = launch(spec)?;
    ready(&kube).await?;
    kube.took = kube.begun.elapsed();
    Ok(kube)
}

/// Starts etcd and kube-apiserver and does not wait for either.
///
/// # Errors
/// [`RealKubeError`], when a file cannot be written or a program not be started.
pub fn launch(spec: RealKubeSpec) -> Result<RealKube, RealKubeError> {
    plexlab_lab::tls::install_provider();
    let directory = spec.directory.clone();
    let io = |what: String| move |source| RealKubeError::Io { what, source };
    create_private_dir(&directory).map_err(io(format!("make {}", directory.display())))?;
    let addresses = [IpAddr::V4(spec.host), IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(spec.services.1)];
    let certificates = certificates::make(&directory, &addresses)?;
    let names = std::iter::once("admin").chain(spec.users.iter().copied());
    let tokens: Vec<(&'static str, SecretString)> =
        names.map(|name| (name, SecretString::from(Uuid::new_v4().to_string()))).collect();
    let lines = tokens
        .iter()
        .map(|(name, token)| format!("{},\"{name}\",\"{name}\",\"system:masters\"\n", token.expose_secret()));
    let path = directory.join("tokens.csv");
    write_private_file(&path, lines.collect::<String>().as_bytes())
        .map_err(io(format!("write {}", path.display())))?;
    let [client_port, peer_port, port] =
        free_ports(spec.host).map_err(io(format!("find free ports at {}", spec.host)))?;

    let begun = Instant::now();
    let start = |name: &'static str, program: PathBuf, arguments: Vec<OsString>| {
        let log = directory.join(format!("{name}.log"));
        let started =
            Supervised::start(CommandLine { name, program, arguments, environment: Vec::new(), log });
        started.map_err(io(format!("start the real {name}")))
    };
    let host = spec.host;
    let etcd_url = format!("https://{host}:{client_port}");
    let arguments = etcd_arguments(&directory, &etcd_url, &format!("https://{host}:{peer_port}"));
    let etcd = start("etcd", spec.assets.etcd(), arguments)?;
    let arguments = kube_apiserver_arguments(&directory, &etcd_url, host, port, &spec.services.0);
    let api_server = start("kube-apiserver", spec.assets.kube_apiserver(), arguments)?;
    Ok(RealKube {
        address: SocketAddr::from((host, port)),
        ca_pem: certificates.ca_pem,
        begun,
        took: Duration::ZERO,
        kubelet_tls: certificates.kubelets,
        tokens,
        api_server,
        etcd,
    })
}

/// Three ports that nobody has at this moment. The address belongs to one stack, so nobody else takes them either,
/// except servers that listen everywhere.
fn free_ports(host: Ipv4Addr) -> io::Result<[u16; 3]> {
    let bind = || TcpListener::bind((host, 0));
    let listeners = [bind()?, bind()?, bind()?];
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok([port(&listeners[0])?, port(&listeners[1])?, port(&listeners[2])?])
}

async fn ready(kube: &RealKube) -> Result<(), RealKubeError> {
    let token = kube.token("admin").cloned().unwrap_or_default();
    let readyz = Readyz::new(&kube.url(), &kube.ca_pem, token)
        .map_err(|error| RealKubeError::Client(error.to_string()))?;
    let outcome = eventually("the real kube-apiserver to be ready", READY_WITHIN, || async {
        // One that has ended will not become ready: no reason to wait for the limit.
        if let Some(ended) = kube.ended() {
            return Check::Done(Err(ended));
        }
        match readyz.look().await {
            Check::Done(()) => Check::Done(Ok(())),
            Check::NotYet(why) => Check::NotYet(why),
        }
    });
    match outcome.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ended)) => Err(RealKubeError::Ended(ended)),
        Err(late) => Err(RealKubeError::Late { late, words: kube.api_server.last_words() }),
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn file(flag: &str, directory: &Path, name: &str) -> OsString {
    let mut argument = OsString::from(format!("--{flag}="));
    argument.push(directory.join(name));
    argument
}

fn etcd_arguments(directory: &Path, url: &str, peer_url: &str) -> Vec<OsString> {
    let mut arguments = words(&[
        &format!("--listen-client-urls={url}"),
        &format!("--advertise-client-urls={url}"),
        &format!("--listen-peer-urls={peer_url}"),
        &format!("--initial-advertise-peer-urls={peer_url}"),
        &format!("--initial-cluster=default={peer_url}"),
        "--client-cert-auth",
        "--peer-client-cert-auth",
        // The data goes with the stack: there is nothing to recover after a crash of the machine.
        "--unsafe-no-fsync",
        "--log-level=error",
    ]);
    arguments.push(file("data-dir", directory, "etcd"));
    for (flag, name) in [
        ("cert-file", "etcd.crt"),
        ("key-file", "etcd.key"),
        ("trusted-ca-file", "etcd-ca.crt"),
        ("peer-cert-file", "etcd.crt"),
        ("peer-key-file", "etcd.key"),
        ("peer-trusted-ca-file", "etcd-ca.crt"),
    ] {
        arguments.push(file(flag, directory, name));
    }
    arguments
}

fn kube_apiserver_arguments(
    directory: &Path,
    etcd: &str,
    host: Ipv4Addr,
    port: u16,
    services: &str,
) -> Vec<OsString> {
    let mut arguments = words(&[
        &format!("--etcd-servers={etcd}"),
        &format!("--bind-address={host}"),
        &format!("--advertise-address={host}"),
        &format!("--secure-port={port}"),
        &format!("--service-cluster-ip-range={services}"),
        // It would write its own loopback address into Endpoints, which it does not allow itself.
        "--endpoint-reconciler-type=none",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        // Node names do not resolve.
        "--kubelet-preferred-address-types=InternalIP,Hostname",
        // Its finalizers are taken off by a controller that plexlab does not have.
        "--disable-admission-plugins=StorageObjectInUseProtection",
        "--profiling=false",
    ]);
    for (flag, name) in [
        ("etcd-cafile", "etcd-ca.crt"),
        ("etcd-certfile", "etcd.crt"),
        ("etcd-keyfile", "etcd.key"),
        ("tls-cert-file", "server.crt"),
        ("tls-private-key-file", "server.key"),
        ("token-auth-file", "tokens.csv"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
        ("service-account-key-file", "service-account.pub"),
        ("service-account-signing-key-file", "service-account.key"),
    ] {
        arguments.push(file(flag, directory, name));
    }
    arguments
}

/// A real kube-apiserver without a stack, with addresses and a directory of its own; for measurements.
#[derive(Debug)]
pub struct LoneKube {
    /// The server. First, so that it is gone before its directory is.
    pub kube: RealKube,
    _directory: tempfile::TempDir,
    _addresses: AddressBlock,
}

/// Starts one without a stack.
///
/// # Errors
/// [`RealKubeError`].
pub async fn start_alone(assets: Assets) -> Result<LoneKube, RealKubeError> {
    let io = |what: &str, source| RealKubeError::Io { what: what.to_owned(), source };
    let addresses = AddressBlock::take().map_err(|error| io("take addresses", io::Error::other(error)))?;
    let directory = tempfile::tempdir().map_err(|error| io("make a directory", error))?;
    let spec = RealKubeSpec {
        assets,
        directory: directory.path().to_owned(),
        host: addresses.servers(),
        services: (addresses.services(), addresses.first_service()),
        users: Vec::new(),
    };
    Ok(LoneKube { kube: start(spec).await?, _directory: directory, _addresses: addresses })
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::observe::complaints::DriverLog;

    #[tokio::test]
    async fn one_without_a_stack_answers_its_users_and_is_gone_when_dropped() {
        let assets = match Assets::from_environment() {
            Ok(assets) => assets,
            Err(missing) => {
                plexlab_lab::skip::skipped("a real kube-apiserver without a stack", &missing.to_string());
                return;
            }
        };
        let log = DriverLog::default();
        let listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        let lone = start_alone(assets).await.unwrap();
        assert_eq!(log.take(), [], "a server that is not ready yet is no complaint");
        drop(listening);
        let (address, directory) = (lone.kube.address, lone._directory.path().to_owned());
        let version = lone.kube.client("admin").await.unwrap().apiserver_version().await.unwrap();
        assert!(version.git_version.starts_with('v'), "{version:?}");
        assert_eq!(lone.kube.ended(), None);
        let etcd = i32::try_from(lone.kube.etcd.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(etcd), nix::sys::signal::Signal::SIGKILL).unwrap();
        let ended = eventually("etcd to be gone", Duration::from_secs(10), || async {
            lone.kube.ended().map_or(Check::NotYet("it runs".to_owned()), Check::Done)
        });
        let ended = ended.await.unwrap();
        assert!(ended.starts_with("etcd ended with ") && ended.contains("its last words"), "{ended}");
        assert!(lone.kube.kubeconfig("nobody").is_none() && lone.kube.took > Duration::ZERO);
        tokio::task::spawn_blocking(move || drop(lone)).await.unwrap();
        assert!(!directory.exists());
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
