//! Agents that are programs, plexlab's own or a real plexd: each a process, with a proxy in front of the control plane.
//!
//! The proxy holds the agent's registrations and their answers; all else that it asks passes. When an agent asks again
//! is its own affair.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plexlab_harness::agents::{Generation, configuration};
use plexlab_harness::backend::supervised::{CommandLine, Supervised};
use plexlab_harness::paths::{create_private_dir, write_private_file};
use plexlab_harness::proxy::{Last, Outcome, Proxy, REQUEST, RESPONSE};
use plexlab_harness::redact::Redactor;
use plexlab_lab::{Check, Verdict, eventually};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::arena::LiveError;
use super::field::Token;

/// How long an agent may take until it asks (again): its own pauses are some seconds.
const ASKS_WITHIN: Duration = Duration::from_secs(90);
/// Where agents register.
pub(super) const REGISTER: &str = "/v1/register";

/// Which program agents are.
#[derive(Debug, Clone)]
pub struct AgentProgram {
    /// Its file, and the arguments before those of plexd.
    pub program: (PathBuf, Vec<OsString>),
    /// What it is known to be; none means that it gets one configuration for all.
    pub generation: Option<Generation>,
}

/// An agent.
#[derive(Debug)]
pub(super) struct Agent {
    proxy: Proxy,
    process: Option<Supervised>,
    dir: PathBuf,
    handle: String,
    /// How often it was started.
    starts: u32,
}

/// What an agent is about to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It has sent a registration, which waits.
    Asks(u64),
    /// It has ended.
    Ended,
}

/// Starts an agent with this command, which finds the control plane at a URL and registers with a handle and a token, in
/// a directory of its own.
pub(super) fn start(
    program: &AgentProgram,
    command: &str,
    (url, handle, token): (&str, &str, &Token),
    dir: &Path,
) -> Result<Supervised, LiveError> {
    let unusable = |source| LiveError::Agent { what: format!("use {}", dir.display()), source };
    create_private_dir(dir).map_err(unusable)?;
    let data = dir.join("data");
    create_private_dir(&data).map_err(unusable)?;
    let settings = json!({
        "data_dir": data,
        "api": {"base_url": url},
        "node_api": {"socket_path": dir.join("api.sock")},
        "registration": {
            "hostname": handle, "resource_handle": handle, "project_id": token.project, "data_dir": data,
        },
    });
    let generations: &[Generation] = match &program.generation {
        Some(generation) => std::slice::from_ref(generation),
        None => &Generation::ALL,
    };
    let file = dir.join("config.yaml");
    let text = serde_norway::to_string(&configuration(&settings, generations)).unwrap_or_default();
    write_private_file(&file, text.as_bytes()).map_err(unusable)?;
    let (executable, mut arguments) = program.program.clone();
    arguments.extend([command.into(), "--config".into(), file.into_os_string()]);
    let environment = vec![
        ("PLEXD_BOOTSTRAP_TOKEN", OsString::from(token.plaintext.expose_secret())),
        ("PATH", std::env::var_os("PATH").unwrap_or_default()),
    ];
    let log = dir.join("plexd.log");
    let command = CommandLine { name: "plexd", program: executable, arguments, environment, log };
    Supervised::start(command).map_err(|source| LiveError::Agent { what: "start plexd".to_owned(), source })
}

impl Agent {
    pub(super) async fn new(upstream: &str, dir: &Path, handle: String) -> Result<Self, LiveError> {
        let proxy = Proxy::start(upstream, REGISTER).await?;
        for gate in [REQUEST, RESPONSE] {
            proxy.gates().set(gate, true);
        }
        Ok(Self { proxy, process: None, dir: dir.join(&handle), handle, starts: 0 })
    }

    /// Starts it, unless it runs or has ended by itself; waits until it asks for something or ends.
    pub(super) async fn until_it_asks(
        &mut self,
        program: &AgentProgram,
        token: &Token,
    ) -> Result<Next, LiveError> {
        if self.process.is_none() {
            self.process = Some(self.start(program, token)?);
        }
        let (gates, process) = (self.proxy.gates(), &self.process);
        let next = eventually(format!("{} to ask for a registration", self.handle), ASKS_WITHIN, || async {
            if let Some(held) = gates.waiting().into_iter().find(|held| held.gate == REQUEST) {
                return Check::Done(Next::Asks(held.id));
            }
            match process.as_ref().and_then(Supervised::ended) {
                Some(_) => Check::Done(Next::Ended),
                None => Check::NotYet("it runs, and asks for none".to_owned()),
            }
        });
        Ok(next.await?)
    }

    fn start(&mut self, program: &AgentProgram, token: &Token) -> Result<Supervised, LiveError> {
        self.starts += 1;
        let dir = self.dir.join(self.starts.to_string());
        start(program, "up", (&self.proxy.url(), &self.handle, token), &dir)
    }

    /// Its handle.
    pub(super) fn name(&self) -> &str {
        &self.handle
    }

    /// Lets its registration reach the control plane.
    pub(super) fn let_go(&self, id: u64) {
        self.proxy.gates().judge(id, Verdict::Go);
    }

    /// The last registration that came to the proxy.
    pub(super) fn last(&self) -> Last {
        self.proxy.last()
    }

    /// What came of it; none as long as nothing did.
    pub(super) fn heard(&self) -> Option<super::calls::Heard> {
        match self.proxy.last().outcome {
            Outcome::Pending => None,
            Outcome::Broken => Some(super::calls::Heard::Broken),
            Outcome::Answered(status, body) => {
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                Some(super::calls::Heard::Answer { status, body })
            }
        }
    }

    /// Gives the answer to the agent, or loses it on the way.
    pub(super) fn answer(&self, verdict: Verdict) {
        if let Some(held) = self.proxy.gates().waiting().into_iter().find(|held| held.gate == RESPONSE) {
            self.proxy.gates().judge(held.id, verdict);
        }
    }

    /// Breaks the connection of its registration.
    pub(super) fn break_off(&self) {
        self.proxy.break_off();
    }

    /// Kills it; what it kept is lost to the next.
    pub(super) async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = tokio::task::spawn_blocking(move || drop(process)).await;
        }
    }

    /// The last lines of its log, without secrets.
    pub(super) fn log(&self, lines: usize, redactor: &Redactor) -> Vec<String> {
        let path = self.dir.join(self.starts.to_string()).join("plexd.log");
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        let last = &all[all.len().saturating_sub(lines)..];
        last.iter().map(|line| redactor.redact(line).into_owned()).collect()
    }

    pub(super) async fn stop(mut self) {
        self.kill().await;
        self.proxy.stop().await;
    }
}
