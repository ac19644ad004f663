//! No secret in any output: what a run prints, reports and logs is searched for everything secret that it used.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::Lab;

#[test]
fn a_run_and_its_reports_hold_no_credential() {
    let lab = Lab::new();
    let reports = lab.reports();
    let arguments = ["run", "--scenario", "adopt-via-eso", "--reports", reports.to_str().unwrap()];
    let outcome = lab.run(&arguments).expect_success("run");
    let mut texts = vec![("stdout".to_owned(), outcome.stdout), ("stderr".to_owned(), outcome.stderr)];
    for path in files(&reports) {
        texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
    }
    assert!(texts.len() >= 5, "{texts:?}");
    for (name, text) in texts {
        for shape in ["psb_prod_", "psk_dev_", "nsk_plexd_", "hvs.", "eyJhbGciOi", "PRIVATE KEY"] {
            assert!(!text.contains(shape), "{name} holds a credential of the shape {shape}");
        }
    }
}

#[test]
fn the_logs_and_arguments_of_a_running_stack_hold_none_of_its_secrets() {
    let lab = Lab::new();
    lab.run(&["up", "--nodes", "1", "--port", "0"]).expect_success("up");
    let dir = lab.state().join("stacks/dev");
    let canaries: Vec<String> = ["operator-token", "owner-token", "vault-token"]
        .map(|name| fs::read_to_string(dir.join(name)).unwrap())
        .into();
    let kubeconfig = fs::read_to_string(dir.join("kubeconfig")).unwrap();
    let token = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap().to_owned();
    let canaries: Vec<String> = canaries.into_iter().chain([token]).collect();

    for name in ["postgres", "control-plane", "vault", "external-secrets", "driver"] {
        let log = lab.run(&["logs", name]);
        for canary in &canaries {
            assert!(
                !log.stdout.contains(canary) && !log.stderr.contains(canary),
                "the log of {name} holds a secret"
            );
        }
    }
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        for canary in &canaries {
            assert!(!arguments.contains(canary), "a process has a secret among its arguments");
        }
    }
    for path in files(&dir) {
        private(&path);
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if metadata.is_file()
        && ["kubeconfig", "operator-token", "owner-token", "vault-token", "stack.json"]
            .iter()
            .any(|name| path.ends_with(name))
    {
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{} is not private", path.display());
    }
}

/// All files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}
