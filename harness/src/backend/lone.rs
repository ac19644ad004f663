//! A Kubernetes API server with nothing beside it, as a process of its own: ours or the real one, with the same
//! users, for measurements that hold one against the other.
//!
//! ```text
//! <state>/kube/<random>/       as in `standalone`: what a killed program leaves, the next start removes
//! ├── tokens.csv               the one user (0600)
//! ├── kube-apiserver.log       what ours says
//! └── real/                    see `envtest::real_kube`
//! ```
//!
//! Neither is waited for: who measures a start looks for its end himself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Instant;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::addresses::{AddressBlock, AllTaken};
use super::containers::own_program;
use super::envtest::assets::Assets;
use super::envtest::real_kube::{self, RealKube, RealKubeError, RealKubeSpec};
use super::supervised::{CommandLine, Supervised};
use crate::paths::{Paths, write_private_file};
use crate::place::{Place, PlaceError};

/// Which server.
#[derive(Debug, Clone)]
pub enum Which {
    /// This program, started anew as its applet `kube-apiserver`.
    Ours,
    /// kube-apiserver with its etcd.
    Real(Assets),
}

/// A server was not started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum LoneError {
    /// No directory of its own.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// No addresses are left.
    #[error(transparent)]
    Addresses(#[from] AllTaken),
    /// The real one.
    #[error(transparent)]
    Real(#[from] RealKubeError),
    /// Ours.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// A server that was started; it may not answer yet. Dropping it ends it at once.
#[derive(Debug)]
pub struct Lone {
    /// Where it answers, over TLS.
    pub address: SocketAddr,
    /// When its first program was started.
    pub begun: Instant,
    /// The bearer token of `admin`, who is in `system:masters`.
    pub token: SecretString,
    // In this order: the programs are gone before their directory and their addresses are.
    programs: Programs,
    _place: Place,
    _addresses: AddressBlock,
}

#[derive(Debug)]
enum Programs {
    Ours(Supervised),
    Real(Box<RealKube>),
}

impl Lone {
    /// Starts it. No user but `admin` is known, and service accounts are mounted into pods by both.
    ///
    /// # Errors
    /// [`LoneError`].
    pub fn launch(which: Which, paths: &Paths) -> Result<Self, LoneError> {
        let place = Place::take(&paths.state.join("kube"))?;
        let addresses = AddressBlock::take()?;
        let (address, begun, token, programs) = match which {
            Which::Ours => ours(&place, &addresses)?,
            Which::Real(assets) => real(assets, &place, &addresses)?,
        };
        Ok(Self { address, begun, token, programs, _place: place, _addresses: addresses })
    }

    /// The process ids of all its programs.
    pub fn processes(&self) -> Vec<u32> {
        match &self.programs {
            Programs::Ours(program) => vec![program.id()],
            Programs::Real(kube) => kube.processes().to_vec(),
        }
    }

    /// How a program of it ended, if one has ended by itself.
    pub fn ended(&self) -> Option<String> {
        match &self.programs {
            Programs::Ours(program) => program.ended(),
            Programs::Real(kube) => kube.ended(),
        }
    }
}

type Started = (SocketAddr, Instant, SecretString, Programs);

fn ours(place: &Place, addresses: &AddressBlock) -> Result<Started, LoneError> {
    let io = |what: String| move |source| LoneError::Io { what, source };
    let host = addresses.servers();
    let address = free_address(host).map_err(io(format!("find a free port at {host}")))?;
    let token = SecretString::from(Uuid::new_v4().to_string());
    let tokens = place.dir.join("tokens.csv");
    let line = format!("{},\"admin\",\"admin\",\"system:masters\"\n", token.expose_secret());
    write_private_file(&tokens, line.as_bytes()).map_err(io(format!("write {}", tokens.display())))?;
    let mut own = own_program().into_iter();
    let program = own.next().map(PathBuf::from).unwrap_or_default();
    let mut arguments: Vec<_> = own.collect();
    arguments.push("kube-apiserver".into());
    let service_cidr = addresses.services();
    for (flag, value) in [
        ("--listen", address.to_string().into()),
        ("--directory", place.dir.clone().into_os_string()),
        ("--service-cidr", service_cidr.into()),
        ("--tokens", tokens.into_os_string()),
    ] {
        arguments.extend([flag.into(), value]);
    }
    let log = place.dir.join("kube-apiserver.log");
    let command = CommandLine { name: "kube-apiserver", program, arguments, environment: Vec::new(), log };
    let begun = Instant::now();
    let program = Supervised::start(command).map_err(io("start the API server".into()))?;
    Ok((address, begun, token, Programs::Ours(program)))
}

/// One that nobody has at this moment. The host belongs to this server, so nobody else takes it either.
fn free_address(host: Ipv4Addr) -> io::Result<SocketAddr> {
    TcpListener::bind((host, 0))?.local_addr()
}

fn real(assets: Assets, place: &Place, addresses: &AddressBlock) -> Result<Started, LoneError> {
    let kube = real_kube::launch(RealKubeSpec {
        assets,
        directory: place.dir.join("real"),
        host: addresses.servers(),
        services: (addresses.services(), addresses.first_service()),
        users: Vec::new(),
    })?;
    let token = kube.token("admin").cloned().unwrap_or_else(|| SecretString::from(String::new()));
    Ok((kube.address, kube.begun, token, Programs::Real(Box::new(kube))))
}
