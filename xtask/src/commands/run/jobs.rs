//! Plays one scenario: in this process, or, when several are to be played at once, in a child.
//!
//! A child is this program with this command's own arguments and `--case`, which says what to play; its end is one line
//! of JSON on its standard output. What a stack complains about and what it leaves behind are found by process, so
//! stacks that live at the same time are held by different ones.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use plexlab_harness::progress::Progress;
use plexlab_harness::report::outcome::ScenarioOutcome;
use plexlab_scenarios::runner::{Options, play};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use crate::commands::run::selection::Case;
use crate::exit::{Failure, PREREQUISITE, STACK};

/// How long a child that is asked to end may take to take its stack down.
const ORDERLY: Duration = Duration::from_secs(60);

/// How the play of a scenario ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It was played.
    Played(Box<ScenarioOutcome>),
    /// It was told to stop before its end.
    Stopped,
    /// No stack came up, so that no scenario is to blame.
    Error {
        /// Exit code.
        code: u8,
        /// Why.
        text: String,
        /// What to do next.
        help: Option<String>,
    },
}

impl From<Failure> for End {
    fn from(Failure { code, text, help }: Failure) -> Self {
        Self::Error { code, text, help }
    }
}

/// Where scenarios are played.
pub enum Player<'o> {
    /// In this process: one at a time.
    Here(&'o Options),
    /// In children.
    Children,
    /// Nowhere: for tests, which say how each play ends.
    #[cfg(test)]
    Scripted(&'o dyn Fn(usize, u32) -> End),
}

impl Player<'_> {
    /// Plays the case with this index, and takes its stack down when it is told to stop.
    pub async fn play(&self, cases: &[Case], index: usize, repetition: u32, stop: &CancellationToken) -> End {
        match self {
            Player::Here(options) => {
                let Some(Case { scenario, keeper }) = cases.get(index).copied() else {
                    return Failure::new(PREREQUISITE, format!("there is no case {index}")).into();
                };
                let silent = Progress::silent();
                tokio::select! {
                    played = play(scenario, keeper, repetition, options, &silent) => match played {
                        Ok(outcome) => End::Played(Box::new(outcome)),
                        Err(error) => Failure::from(error).into(),
                    },
                    () = stop.cancelled() => End::Stopped,
                }
            }
            #[cfg(test)]
            Player::Scripted(script) => script(index, repetition),
            Player::Children => match in_child(index, repetition, stop).await {
                Ok(end) => end,
                Err(error) => {
                    let what = format!("play a scenario in a process of its own: {error}");
                    Failure::new(PREREQUISITE, what).help("`--jobs 1` needs none").into()
                }
            },
        }
    }
}

/// Starts a child and hears how it ended.
#[expect(
    clippy::disallowed_types,
    reason = "this is a supervisor: the child ends with this process, and is waited for"
)]
async fn in_child(index: usize, repetition: u32, stop: &CancellationToken) -> std::io::Result<End> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg(format!("--case={index}/{repetition}"));
    // A group of its own: Ctrl-C reaches this process alone, which then asks each child.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
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
        std::io::Result::Ok((said, child.wait().await?))
    };
    tokio::pin!(ended);
    let (said, status) = tokio::select! {
        ended = &mut ended => ended?,
        () = stop.cancelled() => {
            signal(Signal::TERM);
            match tokio::time::timeout(ORDERLY, &mut ended).await {
                Ok(ended) => ended?,
                Err(_) => {
                    signal(Signal::KILL);
                    ended.await?
                }
            }
        }
    };
    match serde_json::from_slice(&said) {
        Ok(end) => Ok(end),
        Err(_) if stop.is_cancelled() => Ok(End::Stopped),
        Err(_) => {
            let what =
                format!("the process of case {index} ended with {} before its scenario did", shown(status));
            Ok(Failure::new(STACK, what).help("`--jobs 1` plays all in one process").into())
        }
    }
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}
