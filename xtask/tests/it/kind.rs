//! The backend `kind`, with programs in the places of `kind` and `docker` that record what they are asked, and whose
//! "cluster" is one of `kube serve`: everything but what kind itself does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexlab_lab::{Check, eventually};
use serde_json::Value;

use crate::kube_serve::Served;
use crate::lab::{Lab, Outcome};

/// A directory of programs, in front of PATH, and what they keep: `asked` (a line each), `clusters`, and texts that they
/// fail with.
struct Fakes {
    dir: PathBuf,
}

const DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 9
echo "docker $*" >>asked
if [ -f docker-fails ]; then cat docker-fails >&2; exit 1; fi
if [ "$1" = run ]; then sleep 3; echo "$2" >>clusters; fi
"#;

const KIND: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 9
echo "kind $* [$KIND_EXPERIMENTAL_PROVIDER]" >>asked
echo "$$ $(cut -d' ' -f5 /proc/$$/stat)" >>groups
name= kubeconfig= config= logs="$3"
command="$1 $2"
while [ $# -gt 0 ]; do
  case "$1" in
    --name) name="$2" ;;
    --kubeconfig) kubeconfig="$2" ;;
    --config) config="$2" ;;
  esac
  shift
done
case "$command" in
  "version "*) cat version ;;
  "get clusters") cat clusters ;;
  "get nodes") cat nodes ;;
  "create cluster")
    if [ -f create-hangs ]; then ./docker run "$name" & while :; do sleep 1; done; fi
    if [ -f create-fails ]; then echo "$name" >>clusters; cat create-fails >&2; exit 1; fi
    cp "$config" configuration && echo "$name" >>clusters && sed "s/CONTEXT/kind-$name/g" cluster >"$kubeconfig" ;;
  "export kubeconfig") sed "s/CONTEXT/kind-$name/g" cluster >"$kubeconfig" ;;
  "load image-archive") if [ -f load-fails ]; then cat load-fails >&2; exit 1; fi ;;
  "export logs") mkdir -p "$logs/node-1" && echo "kubelet says hello" >"$logs/node-1/kubelet.log" ;;
  "delete cluster")
    if [ -f delete-runs ]; then rm delete-runs; echo "removal of container $name is already in progress" >&2; exit 1; fi
    grep -v "^$name\$" clusters >rest; mv rest clusters ;;
  *) echo "unknown command" >&2; exit 1 ;;
esac
"#;

impl Fakes {
    fn new(lab: &Lab) -> Self {
        let fakes = Self { dir: lab.home().join("programs") };
        std::fs::create_dir(&fakes.dir).unwrap();
        for (name, text) in [("docker", DOCKER), ("kind", KIND)] {
            fakes.program(name, text);
        }
        fakes.say("version", "kind v0.31.0 go1.25.5 linux/amd64\n");
        fakes.say("clusters", "");
        fakes
    }

    fn program(&self, name: &str, text: &str) {
        self.say(name, text);
        std::fs::set_permissions(self.dir.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn say(&self, file: &str, text: &str) {
        std::fs::write(self.dir.join(file), text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.join(file)).unwrap_or_default()
    }

    /// The cluster that `kind create cluster` makes.
    fn cluster(&self, served: &Served) {
        let mut file: Value =
            serde_norway::from_str(&std::fs::read_to_string(served.kubeconfig()).unwrap()).unwrap();
        file["current-context"] = "CONTEXT".into();
        file["contexts"][0]["name"] = "CONTEXT".into();
        self.say("cluster", &serde_norway::to_string(&file).unwrap());
    }

    /// PATH with these programs in front.
    fn path(&self) -> String {
        format!("{}:{}", self.dir.display(), std::env::var("PATH").unwrap_or_default())
    }

    fn run(&self, lab: &Lab, arguments: &[&str]) -> Outcome {
        let path = self.path();
        let all = [arguments, &["--backend", "kind"]].concat();
        Outcome::of(lab.command_with(&[("PATH".into(), path)], env!("CARGO_BIN_EXE_xtask"), &all))
    }

    fn down(&self, lab: &Lab) -> Outcome {
        self.ask(lab, &["down"])
    }

    /// A command that is not told of a backend.
    fn ask(&self, lab: &Lab, arguments: &[&str]) -> Outcome {
        let path = self.path();
        Outcome::of(lab.command_with(&[("PATH".into(), path)], env!("CARGO_BIN_EXE_xtask"), arguments))
    }
}

/// A client of the "cluster" itself.
async fn client(served: &Served) -> kube::Client {
    let file = kube::config::Kubeconfig::read_from(served.kubeconfig()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

/// Has no pod come to any of its nodes.
async fn cordon(client: &kube::Client) {
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client.clone());
    let patch = kube::api::Patch::Merge(serde_json::json!({"spec": {"unschedulable": true}}));
    for node in nodes.list(&kube::api::ListParams::default()).await.unwrap() {
        let name = node.metadata.name.unwrap();
        nodes.patch(&name, &kube::api::PatchParams::default(), &patch).await.unwrap();
    }
}

fn archive(lab: &Lab) -> String {
    let path = lab.home().join("images.tar");
    std::fs::write(&path, "images").unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_scenario_passes_on_a_cluster_that_is_made_for_it_and_deleted() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let served = Served::start(&lab, &["--nodes", "3", "--postgres"]);
    fakes.cluster(&served);
    let (reports, archive) = (lab.reports().display().to_string(), archive(&lab));
    let run = ["run", "--reports", &reports, "--scenario", "adopt-via-eso", "--load", &archive];
    fakes.run(&lab, &run).expect_success("run");
    let asked = fakes.read("asked");
    let commands: Vec<&str> = asked.lines().map(|line| line.split(" --").next().unwrap()).collect();
    let loaded = format!("kind load image-archive {archive}");
    assert_eq!(
        commands,
        [
            "docker info",
            "kind version [docker]",
            "kind get clusters [docker]",
            "kind create cluster",
            &loaded,
            "kind delete cluster"
        ]
    );
    assert_eq!(fakes.read("clusters"), "");
    let deleted = asked.lines().find(|line| line.starts_with("kind delete cluster")).unwrap();
    let of_the_stack =
        deleted.split_once(" --kubeconfig ").map(|(_, path)| path.starts_with(lab.state().to_str().unwrap()));
    assert_eq!(of_the_stack, Some(true), "the user's kubeconfig is not touched: {deleted}");
    let groups = fakes.read("groups");
    let is_its_own = |line: &str| line.split_once(' ').is_some_and(|(process, group)| process == group);
    assert!(groups.lines().all(is_its_own), "Ctrl-C would reach kind, too: {groups}");
    let configuration: Value = serde_norway::from_str(&fakes.read("configuration")).unwrap();
    assert_eq!(configuration["nodes"].as_array().unwrap().len(), 3);
    served.stop().await;
}

#[tokio::test]
async fn a_kept_cluster_outlives_its_stack_and_is_taken_by_the_next_whatever_its_name() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let served = Served::start(&lab, &["--nodes", "1", "--postgres"]);
    fakes.cluster(&served);
    fakes.say("nodes", "plexlab-kept-1-1-control-plane\n");
    let archive = archive(&lab);
    for (made, name) in [(1, "first"), (2, "second")] {
        let up = ["up", "--name", name, "--port", "0", "--nodes", "1", "--keep", "--load", &archive];
        fakes.run(&lab, &up).expect_success("up");
        let used = fakes.ask(&lab, &["gc", "--kept"]).expect_success("gc");
        assert_eq!(used.stderr, "nothing is left over\n", "a stack is in it");
        fakes.ask(&lab, &["down", "--name", name]).expect_success("down");
        assert_eq!(fakes.read("clusters"), "plexlab-kept-1-1\n");
        let asked = fakes.read("asked");
        assert_eq!(asked.matches("kind create cluster").count(), 1, "{asked}");
        assert_eq!(asked.matches("kind export kubeconfig").count(), made - 1, "{asked}");
        // What the first stack's agents left would make the second's nodes that it does not know.
        let clears = "docker exec plexlab-kept-1-1-control-plane rm -rf /var/lib/plexd /var/run/plexd";
        assert_eq!(asked.matches(clears).count(), made - 1, "{asked}");
        assert!(!lab.state().join("stacks").join(name).exists());
        let configuration: Value = serde_norway::from_str(&fakes.read("configuration")).unwrap();
        let log = configuration["nodes"][0]["extraMounts"][1]["hostPath"].as_str().unwrap();
        assert_eq!(log, lab.state().join("kept/plexlab-kept-1-1/audit/log").to_str().unwrap());
        assert!(std::path::Path::new(log).is_dir(), "the nodes have it mounted still");
        // As a scenario does that fails before it has taken it back.
        cordon(&client(&served).await).await;
    }
    let kept = fakes.ask(&lab, &["gc"]).expect_success("gc");
    assert!(kept.stderr.contains("1 cluster of kind kept for the next `--keep`"), "{kept:?}");
    assert_eq!(fakes.read("clusters"), "plexlab-kept-1-1\n", "it was kept, and nobody asked for its end");
    let deleted = fakes.ask(&lab, &["gc", "--kept"]).expect_success("gc");
    assert!(deleted.stdout.starts_with("removed  kept cluster of kind: "), "{deleted:?}");
    assert_eq!(fakes.read("clusters"), "");
    assert!(!lab.state().join("kept/plexlab-kept-1-1").exists());
    served.stop().await;
}

#[tokio::test]
async fn a_kept_cluster_whose_driver_was_killed_is_deleted_and_not_taken_by_others() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let served = Served::start(&lab, &["--nodes", "1", "--postgres"]);
    fakes.cluster(&served);
    let archive = archive(&lab);
    let up = ["up", "--port", "0", "--nodes", "1", "--keep", "-o", "json", "--load", &archive];
    let record: Value = serde_json::from_str(&fakes.run(&lab, &up).expect_success("up").stdout).unwrap();
    let driver = i32::try_from(record["driver"].as_u64().unwrap()).unwrap();
    kill(Pid::from_raw(driver), Signal::SIGKILL).unwrap();
    let gone = eventually("the driver's end", Duration::from_secs(10), || async {
        let there = std::path::Path::new("/proc").join(driver.to_string()).exists();
        if there { Check::NotYet("it is there".to_owned()) } else { Check::Done(()) }
    });
    gone.await.unwrap();
    for arguments in [&["gc", "--dry-run"][..], &["gc"]] {
        let gc = fakes.ask(&lab, arguments).expect_success("gc");
        assert!(!gc.stderr.contains("kept for the next"), "it goes with the stack: {gc:?}");
    }
    assert_eq!(fakes.read("clusters"), "", "what the stack had in it went with it");
    assert!(!lab.state().join("kept/plexlab-kept-1-1").exists() && !lab.state().join("stacks/dev").exists());
    served.stop().await;
}

#[test]
fn a_cluster_of_the_stacks_name_that_is_somebody_elses_is_left_alone() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    fakes.say("clusters", "plexlab-dev\n");
    let foreign = fakes.run(&lab, &["up", "--port", "0", "--nodes", "1"]);
    assert!(foreign.code == Some(4) && foreign.stderr.contains("that is not this stack's"), "{foreign:?}");
    assert_eq!(fakes.read("clusters"), "plexlab-dev\n");
}

#[tokio::test]
async fn the_nodes_logs_are_in_the_evidence_of_a_failure() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let served = Served::start(&lab, &["--nodes", "3", "--postgres"]);
    fakes.cluster(&served);
    let reports = lab.reports();
    // A document that is not there fails every scenario, whatever it shows.
    let openapi = ("PLEXSPHERE_OPENAPI".to_owned(), "/no/such/document.yaml".to_owned());
    let path = ("PATH".to_owned(), fakes.path());
    let reports_text = reports.display().to_string();
    let run = ["run", "--backend", "kind", "--reports", &reports_text, "--scenario", "adopt-via-eso"];
    let outcome = Outcome::of(lab.command_with(&[path, openapi], env!("CARGO_BIN_EXE_xtask"), &run));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let evidence = std::fs::read_dir(reports.join("evidence")).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read_to_string(evidence.join("nodes_node-1_kubelet.log")).unwrap();
    assert_eq!(kept, "kubelet says hello\n");
    assert_eq!(fakes.read("clusters"), "");
    served.stop().await;
}

#[tokio::test]
async fn a_killed_drivers_cluster_is_deleted_by_down() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let served = Served::start(&lab, &["--nodes", "3", "--postgres"]);
    fakes.cluster(&served);
    let archive = archive(&lab);
    let up = ["up", "--port", "0", "-o", "json", "--load", &archive];
    let record = fakes.run(&lab, &up).expect_success("up").stdout;
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(fakes.read("clusters"), "plexlab-dev\n");
    let driver = i32::try_from(record["driver"].as_u64().unwrap()).unwrap();
    kill(Pid::from_raw(driver), Signal::SIGKILL).unwrap();
    // It was deleting the cluster when it was killed, and the engine goes on with that.
    fakes.say("delete-runs", "");
    fakes.down(&lab).expect_success("down");
    assert_eq!(fakes.read("clusters"), "");
    assert!(!lab.state().join("stacks/dev").exists());
    served.stop().await;
}

/// Statements whose scenes need nothing of a node but that pods run there.
const CHECKS: [&str; 6] = ["--check", "life.late", "--check", "life.lost-reply", "--check", "input.config"];

#[tokio::test]
async fn the_conformance_suite_meets_agents_through_a_relay_on_a_cluster_that_it_makes_and_deletes() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let served = Served::start(&lab, &["--nodes", "2"]);
    fakes.cluster(&served);
    let (reports, archive) = (lab.reports().display().to_string(), archive(&lab));
    let play =
        ["conformance", "plexd", "--reports", &reports, "--load", &archive, "--node-image", "node:here"];
    let outcome = fakes.run(&lab, &[&play[..], &CHECKS].concat()).expect_success("conformance");
    assert_eq!(outcome.stdout.matches("    pass  ").count(), 3, "{outcome:#?}");
    let asked = fakes.read("asked");
    assert!(asked.contains("--image node:here") && asked.contains("kind delete cluster"), "{asked}");
    assert_eq!(fakes.read("clusters"), "");
    let report = std::fs::read_to_string(lab.reports().join("conformance.json")).unwrap();
    let again = format!("--backend kind --node-image node:here --load {archive}");
    assert!(report.contains(&again), "{report}");
    // What the suite left on the cluster, which here goes on: the way that its agents had.
    let client = client(&served).await;
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(client.clone(), "plexlab-relay");
    let relay = pods.get("relay").await.unwrap().status.unwrap().pod_ip.unwrap();
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(client, "k-life");
    let map = maps.get("plexd-config").await.unwrap().data.unwrap();
    assert!(map["config.yaml"].contains(&format!("base_url: http://{relay}:")), "{map:?}");
    served.stop().await;
}

#[tokio::test]
async fn the_cluster_of_a_suite_that_was_killed_is_deleted_by_gc_and_by_nothing_else() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let served = Served::start(&lab, &["--nodes", "2"]);
    fakes.cluster(&served);
    let path = [("PATH".to_owned(), fakes.path())];
    let xtask = env!("CARGO_BIN_EXE_xtask");
    let reports = lab.reports().display().to_string();
    let play = ["conformance", "plexd", "--backend", "kind", "--reports", &reports];
    let start = |fakes: &Fakes| {
        let running = lab.command_with(&path, xtask, &play).stdout_null().stderr_null().start().unwrap();
        (running, fakes.read("clusters"))
    };
    let made = async || {
        eventually("a cluster", Duration::from_secs(60), || async {
            match fakes.read("clusters").lines().last() {
                Some(name) => Check::Done(name.to_owned()),
                None => Check::NotYet("none".to_owned()),
            }
        })
        .await
        .unwrap()
    };
    let (running, before) = start(&fakes);
    assert_eq!(before, "");
    let name = made().await;
    assert!(name.starts_with("plexlab-kube-"), "{name}");
    running.kill().unwrap();
    assert_eq!(fakes.read("clusters"), format!("{name}\n"), "nobody was there to delete it");
    let gc = || Outcome::of(lab.command_with(&path, xtask, &["gc"]));
    let outcome = gc().expect_success("gc");
    assert!(outcome.stdout.contains("dead cluster"), "{outcome:#?}");
    assert_eq!(fakes.read("clusters"), "");
    // What is asked to end deletes its cluster itself.
    let (running, _) = start(&fakes);
    made().await;
    kill(Pid::from_raw(i32::try_from(running.pids()[0]).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().status.code(), Some(1));
    assert_eq!(fakes.read("clusters"), "");
    assert!(gc().expect_success("gc").stderr.contains("nothing is left over"));
    served.stop().await;
}

#[tokio::test]
async fn a_container_that_is_being_made_when_everybody_is_killed_is_deleted_by_gc() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    fakes.say("create-hangs", "");
    let path = [("PATH".to_owned(), fakes.path())];
    let xtask = env!("CARGO_BIN_EXE_xtask");
    let reports = lab.reports().display().to_string();
    let play = ["conformance", "plexd", "--backend", "kind", "--reports", &reports];
    let running = lab.command_with(&path, xtask, &play).stdout_null().stderr_null().start().unwrap();
    eventually("a container that is being made", Duration::from_secs(60), || async {
        match fakes.read("asked").contains("docker run") {
            true => Check::Done(()),
            false => Check::NotYet(fakes.read("asked")),
        }
    })
    .await
    .unwrap();
    running.kill().unwrap();
    assert_eq!(fakes.read("clusters"), "", "it is not made yet");
    Outcome::of(lab.command_with(&path, xtask, &["gc"])).expect_success("gc");
    let asked = fakes.read("asked");
    assert!(asked.contains("kind delete cluster"), "{asked}");
    assert_eq!(fakes.read("clusters"), "", "what was made after the deletion is left");
}

#[test]
fn a_program_of_this_machine_is_no_agent_for_nodes_in_containers() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let outcome = fakes.run(&lab, &["conformance", "plexd", "--image", "plexd=bin:/bin/sh"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("on the backend kind: there the suite runs stand-in and image:REF"));
    assert!(!fakes.read("asked").contains("create"), "{outcome:#?}");
}

#[test]
fn whatever_is_wrong_with_engine_or_kind_is_told_and_nothing_is_left() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let archive = archive(&lab);
    let up = ["up", "--port", "0", "--load", &archive];
    let try_with = |file: &str, text: &str| {
        let before = fakes.read(file);
        fakes.say(file, text);
        let outcome = fakes.run(&lab, &up);
        if before.is_empty() {
            std::fs::remove_file(fakes.dir.join(file)).unwrap();
        } else {
            fakes.say(file, &before);
        }
        assert!(!lab.state().join("stacks/dev").exists(), "{outcome:?}");
        assert_eq!(fakes.read("clusters"), "", "{outcome:?}");
        outcome
    };
    for (file, text, code, seen) in [
        (
            "docker-fails",
            "permission denied while trying to connect to the Docker daemon socket",
            3,
            "usermod -aG docker",
        ),
        (
            "docker-fails",
            "Cannot connect to the Docker daemon. Is the docker daemon running?",
            3,
            "systemctl start docker",
        ),
        ("version", "kind v0.11.1 go1.16 linux/amd64", 3, "plexlab needs v0.20 or later"),
        (
            "create-fails",
            "ERROR: failed to create cluster: failed to pull image \"kindest/node:v1\"",
            4,
            "--node-image",
        ),
        ("create-fails", "Bind for 127.0.0.1:8080 failed: port is already allocated", 4, "--port PORT"),
        ("create-fails", "write /var/lib/docker/x: no space left on device", 4, "docker system prune"),
    ] {
        let outcome = try_with(file, text);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains(seen), "{outcome:?}");
    }
}

#[test]
fn an_engine_that_answers_is_taken_in_the_place_of_one_that_does_not() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    fakes.program("podman", "#!/bin/sh\nexit 0\n");
    fakes.say("docker-fails", "Cannot connect to the Docker daemon. Is the docker daemon running?");
    fakes.say("create-fails", "ERROR: no\n");
    let up = fakes.run(&lab, &["up", "--port", "0"]);
    assert_eq!(up.code, Some(4), "{up:?}");
    assert!(fakes.read("asked").contains("[podman]"), "{}", fakes.read("asked"));
}

#[test]
fn the_doctor_asks_the_engine_and_kind_whether_they_work() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let look = || {
        let path = ("PATH".to_owned(), fakes.path());
        Outcome::of(lab.command_with(&[path], env!("CARGO_BIN_EXE_xtask"), &["doctor"])).stdout
    };
    let good = look();
    assert!(good.contains("docker answers, kind v0.31.0 go1.25.5 linux/amd64"), "{good}");
    fakes.say("docker-fails", "Cannot connect to the Docker daemon. Is the docker daemon running?");
    let down = look();
    assert!(down.contains("optional  kind backend") && down.contains("systemctl start docker"), "{down}");
}

#[test]
fn without_an_archive_of_images_it_is_said_how_to_make_one() {
    let lab = Lab::new();
    let fakes = Fakes::new(&lab);
    let outcome = fakes.run(&lab, &["up", "--port", "0", "--load", "/no/such/images.tar"]);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains("cargo xtask images build"), "{outcome:?}");
    assert!(!fakes.read("asked").contains("create"), "{outcome:?}");
}

#[test]
fn a_dry_run_needs_neither_engine_nor_kind() {
    let lab = Lab::new();
    let arguments = ["up", "--dry-run", "--nodes", "2", "--backend", "kind", "--load", "/images.tar"];
    let outcome = lab.run(&arguments).expect_success("dry run");
    insta::assert_snapshot!(outcome.stdout);
    assert!(!lab.state().exists());
}

#[test]
fn without_an_engine_the_embedded_backend_is_offered() {
    let lab = Lab::new();
    let nowhere = [("PATH".to_owned(), lab.home().display().to_string())];
    let up = ["up", "--port", "0", "--backend", "kind"];
    let outcome = Outcome::of(lab.command_with(&nowhere, env!("CARGO_BIN_EXE_xtask"), &up));
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains("no container engine is on PATH"), "{outcome:?}");
    assert!(outcome.stderr.contains("--backend embedded"), "{outcome:?}");
}
