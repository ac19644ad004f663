//! The real kube-apiserver and etcd from `KUBEBUILDER_ASSETS`, started for comparison.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plexlab_lab::{Check, eventually};

use crate::exit::{Failure, PREREQUISITE};

/// How long the real one may take; it needs a few seconds on two cores.
const LIMIT: Duration = Duration::from_secs(60);

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
    )
    .stdout_null()
    .stderr_null()
    .unchecked()
    .start()
    .map_err(|error| fail("start etcd", &error))?;
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
    )
    .stdout_null()
    .stderr_null()
    .unchecked()
    .start()
    .map_err(|error| fail("start kube-apiserver", &error))?;
    let http = reqwest::Client::builder().danger_accept_invalid_certs(true).no_proxy().build();
    let http = http.map_err(|error| fail("make an HTTP client", &error))?;
    let url = format!("https://127.0.0.1:{secure}/readyz");
    let ready = eventually("the real kube-apiserver to be ready", LIMIT, || async {
        match http.get(&url).bearer_auth("bench-token").send().await {
            Ok(answer) if answer.status().is_success() => Check::Done(()),
            Ok(answer) => Check::NotYet(answer.status().to_string()),
            Err(error) => Check::NotYet(error.to_string()),
        }
    })
    .await;
    let took = begun.elapsed();
    for child in [&server, &etcd] {
        let _ = child.kill();
    }
    ready.map(|()| took).map_err(|late| Failure::new(PREREQUISITE, late.to_string()))
}
