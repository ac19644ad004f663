//! Runs a program of somebody else to its end, and keeps what it said.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Lines of a program's last words that an error shows.
const SHOWN: usize = 12;

/// A program, with the variables it is given besides those of this process.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) program: PathBuf,
    pub(super) variables: Vec<(&'static str, String)>,
}

/// It did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It took too long, and was ended.
    #[error("`{command}` did not end within {within:?}")]
    Late {
        /// The command line.
        command: String,
        /// The limit.
        within: Duration,
    },
    /// It said no.
    #[error("`{command}` ended with {status}:{said}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// Its last words, each on a line of its own.
        said: String,
    },
}

impl ToolError {
    /// What the program said, for telling causes apart.
    pub(super) fn said(&self) -> &str {
        match self {
            ToolError::Failed { said, .. } => said,
            ToolError::Start { .. } | ToolError::Late { .. } => "",
        }
    }
}

impl Tool {
    /// Runs it; its standard output. It ends when this future is dropped, and with this process; what it started may not.
    ///
    /// # Errors
    /// [`ToolError`].
    #[expect(
        clippy::disallowed_types,
        reason = "runs to its end here, and is killed when that is not waited for"
    )]
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        within: Duration,
    ) -> Result<String, ToolError> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches this process alone: an engine's program that is cut off leaves the engine at work, and nobody
            // knows when it has done.
            .process_group(0)
            .kill_on_drop(true);
        let parent = getpid();
        // The signal comes when the thread that starts the program ends: those of the runtime end with the process.
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // It may have died before it was watched.
                if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let words = arguments.iter().map(|word| word.as_ref().to_string_lossy().into_owned());
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ");
        let start = |source| ToolError::Start { program: self.program.clone(), source };
        let output = tokio::time::timeout(within, command.output()).await;
        let output = output.map_err(|_| ToolError::Late { command: line.clone(), within })?.map_err(start)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let lines = without_traces(&text);
        let last = &lines[lines.len().saturating_sub(SHOWN)..];
        let said = last.iter().map(|line| format!("\n  {line}")).collect();
        Err(ToolError::Failed { command: line, status: output.status.to_string(), said })
    }
}

/// The lines that say something: not those of a Go program's stack, whose frames are a name and an indented place.
fn without_traces(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let is_place = |line: &&str| line.starts_with('\t') && line.contains(':');
    let in_frame = |at: usize| is_place(&lines[at]) || lines.get(at + 1).is_some_and(is_place);
    (0..lines.len()).filter(|at| !in_frame(*at)).map(|at| lines[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_of_frames_does_not_hide_what_went_wrong() {
        let text = "error execution phase wait-control-plane: timed out\n\nk8s.io/kubernetes/cmd/kubeadm/app.Run\n\
                    \tk8s.io/kubernetes/cmd/kubeadm/app/kubeadm.go:48\nmain.main\n\tkubeadm.go:25\nERROR: failed\n";
        assert_eq!(
            without_traces(text),
            ["error execution phase wait-control-plane: timed out", "ERROR: failed"]
        );
    }
}
