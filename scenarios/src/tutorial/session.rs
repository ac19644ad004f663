//! One bash for all blocks of a document, so that variables and functions last; it is the leader of a process
//! group of its own, which ends with this value, and with this process, however that ends.
//!
//! A block is a file that the shell reads with its standard input closed. After a block the shell writes a mark
//! that no block can know, with the status, to both outputs. The status is that of the first command that failed,
//! also within a pipeline.
//!
//! ```text
//! DIR/            0700, removed at the end
//!   session.bash  the shell's own program
//!   alive         a pipe that this process holds open
//!   block-N.bash  the blocks
//!   home/         HOME of what the blocks run
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use plexlab_harness::paths::{create_private_dir, write_private_file};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::watch;
use uuid::Uuid;

const PROGRAM: &str = include_str!("session.bash");
/// Output of a block is kept up to here; what is beyond is dropped, so that a runaway loop does not fill memory.
const KEPT: usize = 4 * 1024 * 1024;

/// The shell failed, rather than a block in it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It did not start.
    #[error("start bash: {0}; the tutorial's blocks need bash on the PATH")]
    Start(io::Error),
    /// Its private directory cannot be used.
    #[error("use {path}: {source}")]
    Directory {
        /// What could not be used.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// How blocks run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The bash to use: a name or a path.
    pub bash: PathBuf,
    /// Directory to begin in.
    pub directory: PathBuf,
    /// The whole environment but `HOME`, which is the session's own.
    pub environment: BTreeMap<String, String>,
    /// By how much sleeps are shorter.
    pub sleep_divisor: u32,
    /// How long a log is followed.
    pub follow: Duration,
}

/// How a block ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Status(i32),
    /// It ended the shell as well, for example with `exit`. No block can run any more.
    Shell,
    /// Not in time; the shell and all it started were killed.
    TimedOut,
}

/// What a block did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The shell.
pub struct Session {
    child: Supervised,
    control: ChildStdin,
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
    blocks: u32,
    directory: tempfile::TempDir,
    /// When the last holder of this is gone, the shell's group ends.
    _alive: File,
}

/// A child that leads a process group; dropping it kills the group.
struct Supervised(tokio::process::Child, Option<Pid>);

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Some(group) = self.1 {
            // Already gone is as good.
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = self.0.start_kill();
    }
}

impl Session {
    /// Starts the shell.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn start(settings: &Settings) -> Result<Self, SessionError> {
        let directory = tempfile::Builder::new().prefix("plexlab-tutorial-").tempdir();
        let directory = directory.map_err(|source| unusable(&std::env::temp_dir(), source))?;
        let root = directory.path().to_owned();
        let (program, alive, home) = (root.join("session.bash"), root.join("alive"), root.join("home"));
        write_private_file(&program, PROGRAM.as_bytes()).map_err(|source| unusable(&program, source))?;
        create_private_dir(&home).map_err(|source| unusable(&home, source))?;
        mkfifo(&alive, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|error| unusable(&alive, error.into()))?;
        // Both ways, so that opening does not wait for the other side.
        let held = OpenOptions::new().read(true).write(true).open(&alive);
        let held = held.map_err(|source| unusable(&alive, source))?;
        let mark = Uuid::new_v4().simple().to_string();
        #[expect(
            clippy::disallowed_types,
            reason = "this supervises: the group ends with the value and with this process"
        )]
        let mut command = tokio::process::Command::new(&settings.bash);
        command
            .args(["--noprofile", "--norc"])
            .arg(&program)
            .arg(&root)
            .current_dir(&settings.directory)
            .env_clear()
            .envs(&settings.environment)
            .env("HOME", &home)
            .env("PLEXLAB_MARK", &mark)
            .env("PLEXLAB_SLEEP_DIVISOR", settings.sleep_divisor.max(1).to_string())
            .env("PLEXLAB_FOLLOW_SECONDS", settings.follow.as_secs().max(1).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(SessionError::Start)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Supervised(child, group);
        let (Some(control), Some(stdout), Some(stderr)) = pipes else {
            return Err(SessionError::Start(io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            child,
            control,
            stdout: Stream::new(stdout, &mark),
            stderr: Stream::new(stderr, &mark),
            blocks: 0,
            directory,
            _alive: held,
        })
    }

    /// Runs a block. What it has printed so far, both outputs, goes to `seen` as it comes.
    ///
    /// # Errors
    /// [`SessionError::Directory`] when the block cannot be written to its file.
    pub async fn run(
        &mut self,
        code: &str,
        limit: Duration,
        seen: &watch::Sender<String>,
    ) -> Result<Ran, SessionError> {
        self.blocks += 1;
        let path = self.directory.path().join(format!("block-{}.bash", self.blocks));
        write_private_file(&path, format!("{code}\n").as_bytes())
            .map_err(|source| unusable(&path, source))?;
        self.stdout.begin();
        self.stderr.begin();
        // A shell that is gone shows as the end of its outputs.
        let _ = self.control.write_all(format!("{}\n", path.display()).as_bytes()).await;
        let both = async {
            let (out, err) = (&mut self.stdout, &mut self.stderr);
            let show = |text: &str| seen.send_modify(|seen| seen.push_str(text));
            tokio::join!(out.until_mark(show), err.until_mark(show))
        };
        let end = match tokio::time::timeout(limit, both).await {
            Err(_) => {
                self.kill();
                End::TimedOut
            }
            Ok((Some(status), _)) => End::Status(status),
            Ok((None, _)) => {
                self.kill();
                End::Shell
            }
        };
        Ok(Ran { end, stdout: self.stdout.text(), stderr: self.stderr.text() })
    }

    /// Whether a program can be called by this name, as the shell sees it now.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn has(&mut self, program: &str) -> Result<bool, SessionError> {
        let (seen, _) = watch::channel(String::new());
        let code = format!("type -P -- '{program}' >/dev/null || false");
        let ran = self.run(&code, Duration::from_secs(30), &seen).await?;
        Ok(ran.end == End::Status(0))
    }

    /// Lets go of the shell without ending it, as a killed process would: for tests of what happens then.
    #[doc(hidden)]
    pub fn abandon(self) {
        let Self { child, control, _alive, stdout, stderr, .. } = self;
        std::mem::forget((child, control, stdout, stderr));
        drop(_alive);
    }

    /// Ends the shell and all that it started.
    pub fn kill(&mut self) {
        if let Some(group) = self.child.1 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

fn unusable(path: &Path, source: io::Error) -> SessionError {
    SessionError::Directory { path: path.to_owned(), source }
}

/// One output of the shell, cut into blocks by marks.
struct Stream<R> {
    reader: R,
    /// The mark up to its status.
    mark: Vec<u8>,
    /// What was read and belongs to this block, or to a later one after a mark.
    bytes: Vec<u8>,
    /// Where this block's text ends, once its mark was seen.
    end: Option<usize>,
}

/// Begins and ends a mark.
const SEPARATOR: u8 = 0x1e;

impl<R: AsyncRead + Unpin> Stream<R> {
    fn new(reader: R, mark: &str) -> Self {
        let mut start = vec![SEPARATOR];
        start.extend_from_slice(mark.as_bytes());
        start.push(b' ');
        Self { reader, mark: start, bytes: Vec::new(), end: None }
    }

    /// Forgets the last block.
    fn begin(&mut self) {
        self.end = None;
        self.bytes.clear();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.end.unwrap_or(self.bytes.len())]).into_owned()
    }

    /// Reads up to the mark; the status in it, or none when the output ended before.
    async fn until_mark(&mut self, show: impl Fn(&str)) -> Option<i32> {
        let mut chunk = [0; 8192];
        loop {
            let read = match self.reader.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => read,
            };
            self.bytes.extend_from_slice(&chunk[..read]);
            if let Some((end, status)) = self.marked() {
                show(&String::from_utf8_lossy(&self.bytes[end.saturating_sub(read)..end]));
                self.end = Some(end);
                return Some(status);
            }
            show(&String::from_utf8_lossy(&chunk[..read]));
            if self.bytes.len() > 2 * KEPT {
                // The middle of a runaway output goes; its end may be the beginning of a mark.
                self.bytes.drain(KEPT..self.bytes.len() - 1024);
            }
        }
    }

    /// Where the mark begins, and its status.
    fn marked(&self) -> Option<(usize, i32)> {
        let at = self.bytes.windows(self.mark.len()).rposition(|window| window == self.mark.as_slice())?;
        let rest = &self.bytes[at + self.mark.len()..];
        let close = rest.iter().position(|byte| *byte == SEPARATOR)?;
        let status = std::str::from_utf8(&rest[..close]).ok()?.parse().ok()?;
        Some((at, status))
    }
}
