//! `kube serve` as a process: what tests of other projects, in any language, start and end.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexlab_lab::{Check, eventually};
use serde_json::Value;

use crate::lab::{Lab, Outcome, has};

/// How long a process may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// A running `kube serve`; ended when dropped.
pub struct Served {
    output: Output,
    line: Value,
}

/// What it writes; whoever lets go of it before the end, as a test that fails does, ends the process.
struct Output(BufReader<duct::ReaderHandle>);

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.0.get_ref().kill();
    }
}

impl Served {
    pub fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let all = [&["kube", "serve", "-o", "json"], arguments].concat();
        let reader = lab.xtask(&all).stdin_null().stderr_path(lab.home().join("serve.log")).reader().unwrap();
        Self::announced(lab, reader)
    }

    fn announced(lab: &Lab, reader: duct::ReaderHandle) -> Self {
        let mut output = Output(BufReader::new(reader));
        let mut line = String::new();
        output.0.read_line(&mut line).unwrap();
        let said = || fs::read_to_string(lab.home().join("serve.log")).unwrap_or_default();
        let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}; {}", said()));
        Self { output, line }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.line["kubeconfig"].as_str().unwrap().into()
    }

    fn address(&self) -> SocketAddr {
        self.line["url"].as_str().unwrap().trim_start_matches("https://").parse().unwrap()
    }

    pub fn kubectl(&self, lab: &Lab, arguments: &[&str]) -> Outcome {
        self.kubectl_with(lab, arguments, "")
    }

    /// The same with something on standard input.
    pub fn kubectl_with(&self, lab: &Lab, arguments: &[&str], stdin: &str) -> Outcome {
        let variables = [("KUBECONFIG".to_owned(), self.kubeconfig().display().to_string())];
        Outcome::of(lab.command_with(&variables, "kubectl", arguments).stdin_bytes(stdin))
    }

    /// Ends it as Ctrl-C would.
    pub async fn stop(self) {
        self.signal(Signal::SIGTERM);
        let (_, code) = self.ended().await;
        assert_eq!(code, Some(0));
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.output.0.get_ref().pids()[0]).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for the end; what is left on standard output, and the exit code.
    async fn ended(mut self) -> (String, Option<i32>) {
        let ending = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            let Output(reader) = &mut self.output;
            let _ = reader.read_to_string(&mut rest);
            let status = reader.get_ref().try_wait().ok().flatten().and_then(|output| output.status.code());
            (rest, status)
        });
        tokio::time::timeout(ENDS_WITHIN, ending).await.expect("the process ends").unwrap()
    }
}

/// The directories of clusters, dead or alive.
pub fn places(lab: &Lab) -> BTreeSet<PathBuf> {
    let entries =
        fs::read_dir(lab.state().join("kube")).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[tokio::test]
async fn stock_kubectl_works_with_it_and_sigterm_leaves_nothing() {
    if !has("kubectl", "kubectl against kube serve") {
        return;
    }
    let lab = Lab::new();
    fs::create_dir(lab.home().join(".kube")).unwrap();
    fs::write(lab.home().join(".kube/config"), "the user's own\n").unwrap();
    let tokens = lab.home().join("tokens.csv");
    fs::write(&tokens, "s3cret,jane,jane-1,\"dev,ops\"\n").unwrap();
    let served = Served::start(&lab, &["--nodes", "2", "--tokens", tokens.to_str().unwrap()]);

    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(served.kubeconfig()), 0o600);
    assert_eq!(mode(served.kubeconfig().parent().unwrap().to_owned()), 0o700);
    let nodes = served.kubectl(&lab, &["get", "nodes", "--no-headers"]).expect_success("get nodes");
    assert_eq!(nodes.stdout.lines().filter(|line| line.contains(" Ready ")).count(), 2, "{nodes:#?}");

    let create = ["create", "job", "hello", "--image=busybox", "--", "sh", "-c", "echo hello from $HOSTNAME"];
    served.kubectl(&lab, &create).expect_success("create job");
    let wait = ["wait", "--for=condition=complete", "job/hello", "--timeout=60s"];
    served.kubectl(&lab, &wait).expect_success("wait");
    let logs = served.kubectl(&lab, &["logs", "job/hello"]).expect_success("logs");
    assert!(logs.stdout.starts_with("hello from hello-"), "{logs:#?}");

    // kubectl would rather use the certificate or token of its kubeconfig than `--token`.
    let server = served.line["url"].as_str().unwrap();
    let as_jane =
        ["--kubeconfig=/dev/null", "--server", server, "--insecure-skip-tls-verify", "--token=s3cret"];
    let who = [&as_jane[..], &["auth", "whoami", "-o", "jsonpath={.status.userInfo}"]].concat();
    let who = served.kubectl(&lab, &who).expect_success("whoami");
    let who: Value = serde_json::from_str(&who.stdout).unwrap();
    assert_eq!((&who["username"], &who["uid"]), (&"jane".into(), &"jane-1".into()), "{who}");
    let groups = who["groups"].as_array().unwrap();
    assert!(groups.contains(&"dev".into()) && groups.contains(&"ops".into()), "{who}");
    let refused = served.kubectl(&lab, &[&as_jane[..], &["get", "secrets"]].concat());
    assert!(refused.stderr.contains("User \"jane\" cannot list resource \"secrets\""), "{refused:#?}");

    let address = served.address();
    served.signal(Signal::SIGTERM);
    let (rest, code) = served.ended().await;
    assert_eq!((rest.as_str(), code), ("", Some(0)));
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(places(&lab), BTreeSet::new());
    assert_eq!(fs::read_to_string(lab.home().join(".kube/config")).unwrap(), "the user's own\n");
    let log = fs::read_to_string(lab.home().join("serve.log")).unwrap();
    assert!(!log.contains("s3cret") && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn twenty_of_them_share_nothing() {
    let lab = Lab::new();
    let arguments = ["kube", "serve", "-o", "json", "--without-controllers"];
    let log = lab.home().join("serve.log");
    // All are started before the first is waited for.
    let readers: Vec<_> =
        (0..20).map(|_| lab.xtask(&arguments).stdin_null().stderr_path(&log).reader().unwrap()).collect();
    let all: Vec<_> = readers.into_iter().map(|reader| Served::announced(&lab, reader)).collect();
    let urls: BTreeSet<_> = all.iter().map(Served::address).collect();
    let files: BTreeSet<_> = all.iter().map(Served::kubeconfig).collect();
    assert_eq!((urls.len(), files.len(), places(&lab).len()), (20, 20, 20));
    if has("kubectl", "kubectl against twenty servers") {
        all[0].kubectl(&lab, &["create", "configmap", "mine"]).expect_success("create configmap");
        for (index, served) in all.iter().enumerate() {
            let found = served.kubectl(&lab, &["get", "configmap", "mine", "-o", "name"]);
            assert_eq!(found.code == Some(0), index == 0, "{found:#?}");
        }
    }
    for served in &all {
        served.signal(Signal::SIGINT);
    }
    for served in all {
        assert_eq!(served.ended().await.1, Some(0));
    }
    assert_eq!(places(&lab), BTreeSet::new());
}

#[tokio::test]
async fn a_killed_one_leaves_only_files_and_the_next_removes_them() {
    let lab = Lab::new();
    let named = lab.home().join("my.kubeconfig");
    let arguments = ["--nodes", "1", "--kubeconfig", named.to_str().unwrap()];
    let served = Served::start(&lab, &arguments);
    assert_eq!(served.kubeconfig(), named);
    let (address, left) = (served.address(), places(&lab));
    served.signal(Signal::SIGKILL);
    served.ended().await;
    eventually("the port of a killed server to be free", ENDS_WITHIN, || async {
        match TcpListener::bind(address) {
            Ok(_) => Check::Done(()),
            Err(error) => Check::NotYet(error.to_string()),
        }
    })
    .await
    .unwrap();
    assert_eq!(left.len(), 1);
    let next = Served::start(&lab, &arguments);
    assert!(places(&lab).is_disjoint(&left));
    next.signal(Signal::SIGTERM);
    next.ended().await;
    assert!(places(&lab).is_empty() && !named.exists());
}

#[tokio::test]
async fn it_ends_with_its_standard_input_when_asked_to() {
    let lab = Lab::new();
    let arguments = ["kube", "serve", "-o", "json", "--without-controllers", "--until-stdin-ends"];
    let (reading, writing) = std::io::pipe().unwrap();
    let reader = lab.xtask(&arguments).stdin_file(reading).stderr_path(lab.home().join("serve.log")).reader();
    let served = Served::announced(&lab, reader.unwrap());
    assert!(TcpStream::connect(served.address()).is_ok());
    drop(writing);
    assert_eq!(served.ended().await.1, Some(0));
    assert_eq!(places(&lab), BTreeSet::new());
}

#[tokio::test]
async fn the_audit_log_holds_what_the_policy_says_and_stays() {
    let lab = Lab::new();
    let (policy, log) = (lab.home().join("policy.yaml"), lab.home().join("audit.log"));
    let rules = "[{level: Metadata, resources: [{resources: [secrets]}]}, {level: None}]";
    fs::write(&policy, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n")).unwrap();
    let files = ["--audit-policy", policy.to_str().unwrap(), "--audit-log", log.to_str().unwrap()];
    let served = Served::start(&lab, &[&["--without-controllers"], &files[..]].concat());
    if has("kubectl", "kubectl and the audit log") {
        let create = ["create", "secret", "generic", "mine", "--from-literal=word=hunter2"];
        served.kubectl(&lab, &create).expect_success("create secret");
        served.kubectl(&lab, &["create", "configmap", "other"]).expect_success("create configmap");
    }
    served.signal(Signal::SIGTERM);
    served.ended().await;
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["objectRef"]["resource"] == "secrets"), "{text}");
    let created = |line: &&Value| line["verb"] == "create" && line["stage"] == "ResponseComplete";
    let expected = usize::from(has("kubectl", "the audited request"));
    assert_eq!(lines.iter().filter(created).count(), expected, "{text}");
    assert!(!text.contains("hunter2") && fs::metadata(&log).unwrap().permissions().mode() & 0o777 == 0o600);
}

#[test]
fn what_it_cannot_do_is_refused_before_anything_is_made() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let outcome = lab.run(&["kube", "serve", "--without-controllers", "--port", &port]);
    assert!(outcome.code == Some(4) && outcome.stderr.contains(&port), "{outcome:#?}");

    fs::write(lab.home().join("tokens.csv"), "hunter2,joe\n").unwrap();
    let outcome = lab.run(&["kube", "serve", "--tokens", "tokens.csv"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("line 1 has 2 columns"), "{outcome:#?}");
    assert!(!outcome.stderr.contains("hunter2"));

    fs::write(lab.home().join("policy.yaml"), "kind: Policy\n").unwrap();
    let audit = ["kube", "serve", "--audit-policy", "policy.yaml", "--audit-log", "audit.log"];
    let outcome = lab.run(&audit);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("policy.yaml"), "{outcome:#?}");
    let outcome = lab.run(&["kube", "serve", "--audit-policy", "policy.yaml"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("--audit-log"), "{outcome:#?}");

    let own = lab.home().join("config");
    fs::write(&own, "apiVersion: v1\nkind: Config\n").unwrap();
    let outcome = lab.run(&["kube", "serve", "--without-controllers", "--kubeconfig", own.to_str().unwrap()]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("left alone"), "{outcome:#?}");
    assert_eq!(fs::read_to_string(&own).unwrap(), "apiVersion: v1\nkind: Config\n");

    let outcome = lab.run(&["kube", "serve", "--image", "app:dev"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("NAME=PATH"), "{outcome:#?}");
    assert_eq!(places(&lab), BTreeSet::new());
}
