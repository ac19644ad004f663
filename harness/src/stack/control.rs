//! How other commands ask the driver of a running stack for something: a socket in the stack's directory, which only
//! this user can reach. One JSON document each way.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::snapshot::kept::{SnapshotError, SnapshotRecord};
use crate::snapshot::take::take;
use crate::stack::running::RunningStack;

/// File name of the socket.
const NAME: &str = "control.sock";
/// Longest request.
const LONGEST: u64 = 64 * 1024;
/// How long a client may take to say what it wants.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
/// How long the driver may take; volumes can be large.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
enum Request {
    /// A snapshot in this directory.
    Snapshot { directory: PathBuf },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
enum Answer {
    /// It is done.
    Snapshot(SnapshotRecord),
    /// It is not.
    Failed { why: String },
}

/// The driver could not be asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No connection, or one that broke.
    #[error("ask the stack's driver: {0}")]
    Connection(#[from] io::Error),
    /// No answer.
    #[error("ask the stack's driver: no answer within {0:?}")]
    Late(Duration),
    /// Its answer.
    #[error("{0}")]
    Refused(String),
}

/// A path of a socket in `directory`, however long that is: addresses of sockets are short.
fn short(directory: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(NAME)
}

/// The driver's end.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
}

impl ControlSocket {
    /// Opens it in a stack's directory.
    ///
    /// # Errors
    /// The system's.
    pub fn open(stack: &Path) -> io::Result<Self> {
        let directory = File::open(stack)?;
        Ok(Self { listener: UnixListener::bind(short(&directory))? })
    }

    /// Answers, one after another, until dropped.
    pub async fn serve(&self, stack: &RunningStack) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = answer(stream, stack).await {
                        tracing::debug!(%error, "a request to the driver was not answered");
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

async fn answer(stream: UnixStream, stack: &RunningStack) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut limited = BufReader::new(reading.take(LONGEST));
    tokio::time::timeout(ASKED_WITHIN, limited.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Snapshot { directory }) => match take(stack, &directory).await {
            Ok(record) => Answer::Snapshot(record),
            Err(error) => Answer::Failed { why: error.to_string() },
        },
        Err(error) => Answer::Failed { why: format!("understand the request: {error}") },
    };
    writing.write_all(serde_json::to_string(&answer)?.as_bytes()).await?;
    writing.write_all(b"\n").await
}

/// Asks the driver of the stack in `stack` for a snapshot in `directory`.
///
/// # Errors
/// [`ControlError`].
pub async fn ask_for_snapshot(stack: &Path, directory: &Path) -> Result<SnapshotRecord, ControlError> {
    if directory.exists() {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(ControlError::Refused(SnapshotError::Taken(name).to_string()));
    }
    let request = Request::Snapshot { directory: directory.to_owned() };
    let ask = async {
        let parent = File::open(stack)?;
        let mut stream = UnixStream::connect(short(&parent)).await?;
        let mut text = serde_json::to_string(&request).map_err(io::Error::from)?;
        text.push('\n');
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<Answer, io::Error>(serde_json::from_str(&answer)?)
    };
    match tokio::time::timeout(ANSWERED_WITHIN, ask).await {
        Ok(Ok(Answer::Snapshot(record))) => Ok(record),
        Ok(Ok(Answer::Failed { why })) => Err(ControlError::Refused(why)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ControlError::Late(ANSWERED_WITHIN)),
    }
}
