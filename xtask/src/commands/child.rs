//! This program once more, as a child that ends with it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, getppid, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

/// How long a child that is asked to end may take to take its stack down.
const ORDERLY: Duration = Duration::from_secs(60);

/// What a child said on its standard output, and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub said: Vec<u8>,
    pub status: ExitStatus,
}

impl Ended {
    /// Its status in words.
    pub fn shown(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no status".to_owned(),
        }
    }
}

/// Starts a child with these arguments and hears how it ended. Told to stop, the child is asked to end in order.
#[expect(
    clippy::disallowed_types,
    reason = "this is a supervisor: the child ends with this process, and is waited for"
)]
pub async fn run(
    arguments: impl IntoIterator<Item = OsString>,
    errors: Stdio,
    stop: &CancellationToken,
) -> std::io::Result<Ended> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(arguments);
    // A group of its own: Ctrl-C reaches this process alone, which then asks each child.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).process_group(0).kill_on_drop(true);
    let parent = getpid();
    // The signal comes when the thread that starts the child ends: that is the main one, on which this future runs.
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have died before it was watched.
            if getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
    let mut child = command.spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    let stdout = child.stdout.take();
    let ended = async {
        let mut said = Vec::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_end(&mut said).await?;
        }
        std::io::Result::Ok(Ended { said, status: child.wait().await? })
    };
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => ended,
        () = stop.cancelled() => {
            signal(Signal::TERM);
            match tokio::time::timeout(ORDERLY, &mut ended).await {
                Ok(ended) => ended,
                Err(_) => {
                    signal(Signal::KILL);
                    ended.await
                }
            }
        }
    }
}
