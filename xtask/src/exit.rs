//! The exit codes of every command, in one place.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; for `run`: every scenario that ran passed |
//! | 1 | a scenario failed; for `test`: a check failed |
//! | 2 | the command line was not understood, or asks for something that does not exist |
//! | 3 | something that plexlab needs is missing on this machine |
//! | 4 | the stack did not start, or the stack asked about does not run |
//! | 5 | nothing ran: every scenario was skipped |

use std::error::Error;
use std::fmt;

use plexlab_harness::agents::UnknownGeneration;
use plexlab_harness::backend::attach::cluster::AttachError;
use plexlab_harness::backend::attach::context::ContextError;
use plexlab_harness::backend::embedded::StartError as EmbeddedError;
use plexlab_harness::backend::envtest::cluster::EnvtestError;
use plexlab_harness::backend::kind::cluster::KindError;
use plexlab_harness::backend::standalone::StandaloneError;
use plexlab_harness::backend::{ClusterError, UnknownBackend};
use plexlab_harness::clouds::UnknownCloud;
use plexlab_harness::images::ImageError;
use plexlab_harness::paths::NoHome;
use plexlab_harness::snapshot::kept::SnapshotError;
use plexlab_harness::stack::definitions::DefinitionsError;
use plexlab_harness::stack::record::RecordError;
use plexlab_harness::stack::remains::RemainsError;
use plexlab_harness::stack::spec::InvalidName;
use plexlab_harness::stack::start::StartError;
use plexlab_scenarios::runner::RunError;

/// Done.
pub const OK: u8 = 0;
/// A scenario or a check failed.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A prerequisite is missing.
pub const PREREQUISITE: u8 = 3;
/// The stack did not start, or does not run.
pub const STACK: u8 = 4;
/// Nothing ran.
pub const NOTHING_RAN: u8 = 5;

/// Why a command ends with a code other than 0. The text may be empty: then all has been said already.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What happened, for people.
    pub text: String,
    /// What to do next, if there is something.
    pub help: Option<String>,
}

impl Failure {
    /// With this code and text.
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), help: None }
    }

    /// All has been said already.
    pub fn silent(code: u8) -> Self {
        Self::new(code, "")
    }

    /// With what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn of(code: u8, error: &dyn Error) -> Self {
        Self::new(code, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Unavailable(_) => PREREQUISITE,
            StartError::Cluster(ClusterError::Embedded(EmbeddedError::Postgres(_))) => PREREQUISITE,
            StartError::Cluster(ClusterError::Envtest(
                EnvtestError::Postgres(_) | EnvtestError::Assets(_),
            )) => PREREQUISITE,
            StartError::Cluster(ClusterError::Attach(error)) => attach_code(error),
            StartError::Cluster(ClusterError::Kind(KindError::Engine(_) | KindError::NoArchive(_))) => {
                PREREQUISITE
            }
            StartError::ImageSource { .. }
            | StartError::Clouds(_)
            | StartError::OwnerOfNone
            | StartError::Owner(_) => USAGE,
            StartError::Snapshot(SnapshotError::Unknown(_)) => USAGE,
            StartError::Record(_)
            | StartError::LeftBehind { .. }
            | StartError::Ownership(_)
            | StartError::Snapshot(_)
            | StartError::Manifest(_)
            | StartError::Draw(_)
            | StartError::Cluster(_)
            | StartError::Apply { .. }
            | StartError::ApplyTimedOut { .. }
            | StartError::NotReady { .. }
            | StartError::NotAnswering(_)
            | StartError::NoAddress { .. }
            | StartError::Client(_)
            | StartError::Io { .. } => STACK,
        };
        Self::of(code, &error)
    }
}

fn attach_code(error: &AttachError) -> u8 {
    match error {
        AttachError::Context(ContextError::NotGiven | ContextError::Unknown { .. }) => USAGE,
        AttachError::Context(
            ContextError::Unusable { .. } | ContextError::NotAllowed { .. } | ContextError::Expired { .. },
        )
        | AttachError::Unreachable { .. }
        | AttachError::Rights { .. }
        | AttachError::NoNode { .. } => PREREQUISITE,
        AttachError::Ownership(_) => STACK,
    }
}

impl From<RemainsError> for Failure {
    fn from(error: RemainsError) -> Self {
        Self::of(STACK, &error)
    }
}

impl From<StandaloneError> for Failure {
    fn from(error: StandaloneError) -> Self {
        match &error {
            StandaloneError::Backend(_)
            | StandaloneError::Tokens(_)
            | StandaloneError::AuditPolicy { .. } => Self::of(USAGE, &error),
            StandaloneError::Postgres(_) => Self::of(PREREQUISITE, &error),
            StandaloneError::NotOurs(_) => Self::of(USAGE, &error)
                .help("name another place, or none: then it goes to a private directory"),
            StandaloneError::Envtest(EnvtestError::Assets(_))
            | StandaloneError::Kind(KindError::Engine(_) | KindError::NoArchive(_)) => {
                Self::of(PREREQUISITE, &error)
            }
            StandaloneError::Place(_)
            | StandaloneError::Unusable { .. }
            | StandaloneError::Envtest(_)
            | StandaloneError::Kind(_)
            | StandaloneError::Addresses(_)
            | StandaloneError::ApiServer { .. }
            | StandaloneError::Part { .. }
            | StandaloneError::Late(_) => Self::of(STACK, &error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Start(error) => error.into(),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let code = match &error {
            SnapshotError::Unknown(_)
            | SnapshotError::Taken(_)
            | SnapshotError::Backend(_)
            | SnapshotError::Elsewhere(_) => USAGE,
            SnapshotError::Freeze(_)
            | SnapshotError::Copy(_)
            | SnapshotError::Unusable { .. }
            | SnapshotError::Garbled { .. } => STACK,
        };
        Self::of(code, &error)
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        Self::of(STACK, &error)
    }
}

impl From<NoHome> for Failure {
    fn from(error: NoHome) -> Self {
        Self::of(PREREQUISITE, &error)
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Self::of(USAGE, &error)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::of(USAGE, &error)
    }
}

impl From<UnknownGeneration> for Failure {
    fn from(error: UnknownGeneration) -> Self {
        Failure::new(USAGE, error.to_string())
    }
}

impl From<UnknownCloud> for Failure {
    fn from(error: UnknownCloud) -> Self {
        Self::of(USAGE, &error)
    }
}

impl From<DefinitionsError> for Failure {
    fn from(error: DefinitionsError) -> Self {
        Self::of(USAGE, &error)
    }
}

impl From<UnknownBackend> for Failure {
    fn from(error: UnknownBackend) -> Self {
        Self::of(USAGE, &error)
    }
}
