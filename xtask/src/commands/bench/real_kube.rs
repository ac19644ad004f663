//! The real kube-apiserver and etcd from `KUBEBUILDER_ASSETS`, started for comparison.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plexlab_lab::{Check, eventually};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::exit::{Failure, PREREQUISITE};

/// How long the real one may take; it needs a few seconds on two cores.
const LIMIT: Duration = Duration::from_secs(60);
/// Lines of a failed server's log that are shown.
const LAST_LINES: usize = 10;

/// The directory with `kube-apiserver` and `etcd`, if the user names one.
pub fn assets() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?);
    let complete = ["kube-apiserver", "etcd"].iter().all(|program| directory.join(program).is_file());
    complete.then_some(directory)
}

/// Starts both with an empty directory, waits until `/readyz` says so, ends both.
pub async fn time_start(assets: &Path) -> Result<Duration, Failure> {
    let fail =
        |what: &str, error: &dyn std::fmt::Display| Failure::new(PREREQUISITE, format!("{what}: {error}"));
    let directory = tempfile::tempdir().map_err(|error| fail("make a directory", &error))?;
    let port =
        || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map(|at| at.port());
    let ports = (port(), port(), port());
    let (Ok(client), Ok(peer), Ok(secure)) = ports else {
        return Err(Failure::new(PREREQUISITE, "find free ports"));
    };
    std::fs::write(directory.path().join("tokens.csv"), "bench-token,bench,bench,system:masters\n")
        .map_err(|error| fail("write tokens.csv", &error))?;
    let key = directory.path().join("sa.key");
    duct::cmd!("openssl", "genrsa", "-out", &key, "2048")
        .stderr_null()
        .run()
        .map_err(|error| fail("make a key with openssl", &error))?;
    let begun = Instant::now();
    let etcd = duct::cmd!(
        assets.join("etcd"),
        "--data-dir",
        directory.path().join("etcd"),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        "--log-level=error"
    );
    let etcd = Server::start("etcd", etcd, directory.path())?;
    let server = duct::cmd!(
        assets.join("kube-apiserver"),
        format!("--etcd-servers=http://127.0.0.1:{client}"),
        "--bind-address=127.0.0.1",
        format!("--secure-port={secure}"),
        format!("--cert-dir={}", directory.path().join("certs").display()),
        format!("--token-auth-file={}", directory.path().join("tokens.csv").display()),
        "--service-account-issuer=https://kubernetes.default.svc",
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC"
    );
    let server = Server::start("kube-apiserver", server, directory.path())?;
    let http = reqwest::Client::builder().danger_accept_invalid_certs(true).no_proxy().build();
    let http = http.map_err(|error| fail("make an HTTP client", &error))?;
    let url = format!("https://127.0.0.1:{secure}/readyz");
    let ready = eventually("the real kube-apiserver to be ready", LIMIT, || async {
        // One that has ended will not become ready: no reason to wait for the limit.
        if let Some(ended) = [&etcd, &server].into_iter().find_map(Server::ended) {
            return Check::Done(Err(ended));
        }
        match http.get(&url).bearer_auth("bench-token").send().await {
            Ok(answer) if answer.status().is_success() => Check::Done(Ok(())),
            Ok(answer) => Check::NotYet(answer.status().to_string()),
            Err(error) => Check::NotYet(error.to_string()),
        }
    })
    .await;
    let took = begun.elapsed();
    match ready {
        Ok(Ok(())) => Ok(took),
        Ok(Err(ended)) => Err(ended),
        Err(late) => Err(Failure::new(PREREQUISITE, late.to_string()).help(server.last_words())),
    }
}

/// A server that ends when this is dropped, and with this process, even if that is killed.
struct Server {
    name: &'static str,
    handle: duct::Handle,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it says goes to a file in `directory`.
    fn start(name: &'static str, command: duct::Expression, directory: &Path) -> Result<Self, Failure> {
        let fail = |error: &dyn std::fmt::Display| {
            Failure::new(PREREQUISITE, format!("start the real {name}: {error}"))
        };
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).map_err(|error| fail(&error))?;
        let handle = command
            .stdin_null()
            .stdout_null()
            .stderr_file(output)
            .unchecked()
            .before_spawn(|command| {
                // SAFETY: between fork and exec only one system call is made.
                unsafe {
                    command.pre_exec(|| {
                        set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)
                    });
                }
                Ok(())
            })
            .start()
            .map_err(|error| fail(&error))?;
        Ok(Self { name, handle, log })
    }

    /// The failure, when it has ended by itself.
    fn ended(&self) -> Option<Failure> {
        let output = self.handle.try_wait().ok().flatten()?;
        let what = format!("run the real {}: it ended with {}", self.name, output.status);
        Some(Failure::new(PREREQUISITE, what).help(self.last_words()))
    }

    /// The last lines that it wrote.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        format!("the last words of {}:\n{last}", self.name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Also waits, so that its directory can go.
        let _ = self.handle.kill();
    }
}
