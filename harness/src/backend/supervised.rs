//! One server program as a child that never outlives this process, SIGKILL included.
//!
//! The kernel ends the child when the *thread* that started it ends, so each child gets a thread that lives exactly
//! as long as it does.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal};

/// Lines of a log that an error shows.
const LAST_LINES: usize = 10;

/// What to run.
#[derive(Debug, Clone)]
pub struct CommandLine {
    /// The program, as people call it.
    pub name: &'static str,
    /// Its file.
    pub program: PathBuf,
    /// Its arguments; no secrets, for everybody on the machine can read them.
    pub arguments: Vec<OsString>,
    /// All of its environment; what is secret goes here, which only this user can read.
    pub environment: Vec<(&'static str, OsString)>,
    /// Where everything that it says goes (0600).
    pub log: PathBuf,
}

/// A child that runs, or has ended by itself. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub struct Supervised {
    name: &'static str,
    log: PathBuf,
    id: u32,
    descriptor: OwnedFd,
    status: Arc<OnceLock<String>>,
    supervisor: Option<JoinHandle<()>>,
}

impl Supervised {
    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(command: CommandLine) -> io::Result<Self> {
        let (name, log) = (command.name, command.log.clone());
        let status = Arc::new(OnceLock::new());
        let (report, reported) = mpsc::channel();
        let outcome = status.clone();
        let supervisor = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            match spawn(&command) {
                Ok((mut child, descriptor)) => {
                    let _ = report.send(Ok((child.id(), descriptor)));
                    let ended = child.wait();
                    let _ = outcome.set(ended.map_or_else(|error| error.to_string(), describe));
                }
                Err(error) => drop(report.send(Err(error))),
            };
        })?;
        let (id, descriptor) = reported.recv().map_err(|_| io::Error::other("its supervisor ended"))??;
        Ok(Self { name, log, id, descriptor, status, supervisor: Some(supervisor) })
    }

    /// Its process id; another process may have it once this one has ended.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, if it has ended by itself.
    pub fn ended(&self) -> Option<String> {
        let status = self.status.get()?;
        Some(format!("{} ended with {status}; {}", self.name, self.last_words()))
    }

    /// The last lines that it said.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
        format!("its last words ({}):\n  {last}", self.log.display())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // Nothing of it is kept, so there is no reason to end it gently. One that has ended takes no signal.
        let _ = pidfd_send_signal(&self.descriptor, Signal::KILL);
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "this is a supervisor: the child ends with the thread that waits for it"
)]
fn spawn(command: &CommandLine) -> io::Result<(std::process::Child, OwnedFd)> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&command.log)?;
    let mut process = std::process::Command::new(&command.program);
    process.args(&command.arguments).env_clear().envs(command.environment.clone()).stdin(Stdio::null());
    process.stdout(log.try_clone()?).stderr(log);
    process.current_dir(command.log.parent().unwrap_or(Path::new("/")));
    let parent = getpid();
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        process.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have died before it was watched.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
    let child = process.spawn()?;
    let descriptor = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    Ok((child, descriptor))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexlab_lab::{Check, eventually};
    use std::time::Duration;

    fn shell(directory: &Path, script: &str) -> CommandLine {
        CommandLine {
            name: "sh",
            program: "/bin/sh".into(),
            arguments: ["-c".into(), script.into()].into(),
            environment: Vec::new(),
            log: directory.join("sh.log"),
        }
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_says_how_and_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let child = Supervised::start(shell(directory.path(), "echo port taken >&2; exit 3")).unwrap();
        let ended = eventually("the end of a child", Duration::from_secs(10), || async {
            child.ended().map_or(Check::NotYet("it runs".into()), Check::Done)
        });
        let ended = ended.await.unwrap();
        assert!(ended.contains("exit code 3") && ended.contains("port taken"), "{ended}");
    }

    #[test]
    fn a_dropped_one_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let child = Supervised::start(shell(directory.path(), "echo $$; exec sleep 1000")).unwrap();
        let descriptor = child.descriptor.try_clone().unwrap();
        assert!(child.ended().is_none());
        drop(child);
        assert!(pidfd_send_signal(&descriptor, Signal::CONT).is_err(), "the process is still there");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let command = CommandLine { program: "/no/such/etcd".into(), ..shell(directory.path(), "") };
        assert_eq!(Supervised::start(command).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
