//! The arguments of every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::shard::Shard;

/// A local dev stack and an integration-test harness for plexsphere and plexd.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play scenarios, each on a stack of its own, and report
    Run(RunArgs),
    /// Execute a document's shell blocks in order, and compare what comes out with what it shows
    Tutorial(TutorialArgs),
    /// Bring a stack up and leave it running
    Up(UpArgs),
    /// Take a stack down
    Down(StackArgs),
    /// Find what dead stacks have left, and remove it
    Gc(GcArgs),
    /// Show the stacks
    Status(StatusArgs),
    /// Print DOMAIN_ID and BINDING_ID of the seeded Acme Corp, for `eval`
    Ids(StackArgs),
    /// Print the variables that point stock tools at a stack, for `eval`
    Env(StackArgs),
    /// Print the path of a stack's kubeconfig
    Kubeconfig(StackArgs),
    /// Keep the state of a stack under a name, and bring stacks up from it
    Snapshot(SnapshotArgs),
    /// Make independent copies of a running stack
    Fork(ForkArgs),
    /// Print the logs of a stack's component
    Logs(LogsArgs),
    /// List the scenarios
    List(ListArgs),
    /// Check formatting, lints and all tests
    Test(TestArgs),
    /// Say what this machine has and lacks
    Doctor(ListArgs),
    /// Show where the published sources disagree, and, given the OpenAPI document, what is served
    Contract(ListArgs),
    /// Hold a program to its published reference, statement by statement
    Conformance(ConformanceArgs),
    /// Take documented behaviours away, one at a time, and see that exactly their checks fail
    Mutants(MutantsArgs),
    /// The stand-ins as container images
    Images(ImagesArgs),
    /// Download the real kube-apiserver and etcd of a Kubernetes version, once; print the directory for KUBEBUILDER_ASSETS
    Envtest(EnvtestArgs),
    /// Print the rights that plexlab needs in a cluster that it attaches to, for `kubectl apply`
    Rbac(ListArgs),
    /// Search the orders in which things can happen for one that breaks a rule
    Race(RaceArgs),
    /// Play races and scenarios at random for as long as wanted, and keep a capsule of each failure
    Soak(SoakArgs),
    /// Play a capsule again
    Repro(ReproArgs),
    /// Show what happened in a capsule or a run
    Timeline(TimelineArgs),
    /// A Kubernetes cluster on its own, for anybody's tests
    Kube(KubeArgs),
    /// Measure, in an optimised build
    Bench(BenchArgs),
    /// The process behind `up`
    #[command(hide = true)]
    Driver(UpArgs),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Args)]
pub struct StackArgs {
    /// Name of the stack
    // The variable is for the shells of `tutorial`, in which `make dev-ids` is to mean the tutorial's stack.
    #[arg(long, default_value = "dev", value_name = "NAME", env = "PLEXLAB_STACK", hide_env = true)]
    pub name: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Only this stack; without it, all
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct GcArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also the clusters of kind that `--keep` has left
    #[arg(long)]
    pub kept: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Component: postgres, control-plane, vault, external-secrets, plexd, a cloud, internet (the way to it), or driver
    pub component: String,
    /// Go on as the log grows
    #[arg(short, long)]
    pub follow: bool,
    /// Name of the stack
    #[arg(long, default_value = "dev", value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Clone, Args)]
pub struct BackendArgs {
    /// Choices of plexlab.toml under this name; what else is given on the command line wins
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// What serves the Kubernetes API and runs images: embedded, envtest, kind or kubeconfig [default: embedded]
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<String>,
    /// Backend kubeconfig: the file to attach by
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Backend kubeconfig: the context in it; without it, its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Backend kubeconfig: this context is meant, although it leads to another machine or looks like production
    #[arg(long, value_name = "NAME")]
    pub allow_context: Option<String>,
    /// Backend kind: the image of its nodes, in place of the pinned one
    #[arg(long, value_name = "REF")]
    pub node_image: Option<String>,
    /// Backend kind: an archive of images that its nodes get, for example of `images build`; repeatable
    #[arg(long = "load", value_name = "FILE")]
    pub load: Vec<PathBuf>,
    /// Backend kind: leave the cluster, and take one that was left; `gc --kept` deletes them
    #[arg(long)]
    pub keep: bool,
    /// What runs for a component: NAME=stand-in, NAME=bin:PATH, NAME=image:REF or NAME=url:URL; repeatable
    #[arg(long = "image", value_name = "NAME=SOURCE")]
    pub images: Vec<String>,
    /// With control-plane=url:URL: a file with the API token of one who may make Projects there, the owner of scenarios
    #[arg(long, value_name = "FILE")]
    pub owner_token_file: Option<PathBuf>,
    /// With control-plane=url:URL: slug of the Domain in which the owner makes Projects [default: acme-corp]
    #[arg(long, value_name = "SLUG")]
    pub owner_domain: Option<String>,
    /// The External Secrets Operator's own definitions (its CRD bundle), in place of the stand-in's
    #[arg(long, value_name = "FILE")]
    pub crds: Option<PathBuf>,
    /// Of which generation the agent's program is, when it is not plexlab's own: current or 2026-02; any, if not said
    #[arg(long, value_name = "GENERATION")]
    pub agent: Option<String>,
    /// A cloud whose secret store the stack has besides Vault: aws, azure or google; repeatable
    #[arg(long = "cloud", value_name = "NAME")]
    pub clouds: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Name of the stack
    #[arg(long, default_value = "dev", value_name = "NAME")]
    pub name: String,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub nodes: u32,
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Stay in the foreground until Ctrl-C, which takes the stack down
    #[arg(long)]
    pub foreground: bool,
    /// Port of localhost for the control plane; another one is taken when it is in use
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub port: u16,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Begin with the snapshot in this directory
    #[arg(long, hide = true, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SnapshotCommand {
    /// Keep the state of a running stack
    Save(SaveArgs),
    /// Bring a stack up as it was
    Restore(RestoreArgs),
    /// Show the snapshots
    List(ListArgs),
    /// Remove a snapshot
    Delete(DeleteArgs),
}

#[derive(Debug, Clone, Args)]
pub struct SaveArgs {
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// Name of the stack; without it, that of the stack that the snapshot was taken of
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Take the stack of this name down first, if it runs
    #[arg(long)]
    pub replace: bool,
    /// Port of localhost for the control plane; another one is taken when it is in use
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub port: u16,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
}

#[derive(Debug, Clone, Args)]
pub struct ForkArgs {
    /// The running stack to copy
    #[arg(long, default_value = "dev", value_name = "STACK")]
    pub of: String,
    /// Name of the copy; several get `-1`, `-2` and so on; without it, the stack's name with `-fork`
    #[arg(long, value_name = "NEW")]
    pub name: Option<String>,
    /// Number of copies
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub number: u32,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Matrix {
    /// Every secret store of a customer
    Stores,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Only this scenario; repeatable
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// Play each scenario so many times
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Where the customer keeps secrets: vault (the default), aws, azure or google; repeatable
    #[arg(long = "store", value_name = "NAME", conflicts_with = "matrix")]
    pub stores: Vec<String>,
    /// Play each scenario once for each value: `stores`
    #[arg(long, value_enum, value_name = "WHAT")]
    pub matrix: Option<Matrix>,
    /// How many are played at the same time, each in a process of its own
    #[arg(short, long, default_value_t = 1, value_name = "N", value_parser = at_once)]
    pub jobs: usize,
    /// Every so manieth scenario only, for several machines: 2/3 is the second third
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// After a failure nothing more begins; what was not played is reported as skipped
    #[arg(long)]
    pub fail_fast: bool,
    /// Play what failed so many times more, at the end, to tell what is flaky from what is broken
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3", require_equals = false,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rerun_failed: Option<u32>,
    /// What a child of --jobs plays: the index among the cases, and the repetition
    #[arg(long, hide = true, value_name = "INDEX/REPETITION", value_parser = case)]
    pub case: Option<(usize, u32)>,
    /// Where the saved stack is that each play forks, instead of starting one
    #[arg(long, hide = true, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Number of nodes, instead of each scenario's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub nodes: Option<u32>,
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Where the reports (junit.xml, report.json, summary.txt) and evidence of failures go
    #[arg(long, default_value = "target/plexlab", value_name = "DIR")]
    pub reports: PathBuf,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct TutorialArgs {
    /// The document: Markdown, or a web page saved as text
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The running stack to play it on; without it, one of its own, which goes afterwards
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// Answer to a prompt of the document: `project-uuid=…` for `<project-uuid>`; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    pub answers: Vec<(String, String)>,
    /// By how much the document's sleeps are shorter
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub hurry: u32,
    /// How long a block may take, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub limit: u64,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// Passed on to `cargo test`, for example a filter
    #[arg(trailing_var_arg = true, value_name = "ARGS")]
    pub rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// The node agent, on Kubernetes
    Plexd,
}

#[derive(Debug, Clone, Args)]
pub struct ConformanceArgs {
    /// Which program
    #[arg(value_enum)]
    pub suite: Suite,
    /// Only these statements, by id or the part before the dot; repeatable
    #[arg(long = "check", value_name = "ID")]
    pub checks: Vec<String>,
    /// What runs as the agent: plexd=stand-in, plexd=bin:PATH, or plexd=image:REF on kind
    #[arg(long = "image", value_name = "NAME=SOURCE")]
    pub images: Vec<String>,
    /// What serves the Kubernetes API: embedded, envtest or kind
    #[arg(long, default_value = "embedded", value_name = "BACKEND")]
    pub backend: String,
    /// Backend kind: the image of its nodes, in place of the pinned one
    #[arg(long, value_name = "REF")]
    pub node_image: Option<String>,
    /// Backend kind: an archive of images that its nodes get: that of `images build`, and the agent's; repeatable
    #[arg(long = "load", value_name = "FILE")]
    pub load: Vec<PathBuf>,
    /// Of which generation it is: current or 2026-02; any, if not said
    #[arg(long, value_name = "GENERATION")]
    pub agent: Option<String>,
    /// Where conformance.md, conformance.json and conformance.xml (JUnit) go
    #[arg(long, default_value = "target/plexlab", value_name = "DIR")]
    pub reports: PathBuf,
    /// Only what can be judged without a cluster
    #[arg(long)]
    pub manifests_only: bool,
    /// Behaviours that the stand-in is to do without
    #[arg(long, hide = true, value_name = "BEHAVIOUR,…")]
    pub without: Option<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct MutantsArgs {
    /// Only the mutants of these statements, by id or the part before the dot; repeatable
    #[arg(long = "check", value_name = "ID")]
    pub checks: Vec<String>,
    /// Every so manieth mutant only, for several machines: 2/3 is the second third
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct EnvtestArgs {
    /// The version: 1.36 for the newest of that, or 1.36.2
    #[arg(value_name = "VERSION")]
    pub version: String,
    /// The index of the releases, for example of a mirror
    #[arg(long, default_value = plexlab_harness::backend::envtest::download::INDEX, value_name = "URL")]
    pub index: String,
}

#[derive(Debug, Clone, Args)]
pub struct ImagesArgs {
    #[command(subcommand)]
    pub command: ImagesCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ImagesCommand {
    /// Write an archive that `docker load` and `kind load image-archive` take; needs neither
    Build(ImagesBuildArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ImagesBuildArgs {
    /// Where the archive goes
    #[arg(long, default_value = "target/plexlab-images.tar", value_name = "FILE")]
    pub output: PathBuf,
    /// The stand-ins' program, statically linked; without it, it is built
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// What it is built for: x86_64- or aarch64-unknown-linux-gnu or -musl
    #[arg(long, default_value = HOST, value_name = "TARGET", conflicts_with = "program")]
    pub target: String,
}

/// What the images are for when nobody says otherwise: this machine's processor.
const HOST: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

#[derive(Debug, Clone, Args)]
pub struct RaceArgs {
    /// What to race; without it, what can be is listed
    #[arg(value_name = "SCENARIO")]
    pub scenario: Option<String>,
    /// Number of agents, instead of the scenario's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub agents: Option<u16>,
    /// How many schedules are played at most: 10,000, or with --exhaustive 1,000,000 orders
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    pub schedules: Option<u64>,
    /// Seed of the schedules
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// How many things may break in a schedule: kills, lost answers, clock jumps
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=20))]
    pub faults: u16,
    /// Every order once, but for those that differ only in steps that do not meet
    #[arg(long)]
    pub exhaustive: bool,
    /// With real processes: a control plane (where there are brokers, one for each) and its database, held at their
    /// gates; 50 schedules. More than 12 agents race as they come
    #[arg(long, conflicts_with = "exhaustive")]
    pub live: bool,
    /// Play this schedule, and keep a capsule of it whatever comes: steps as capsules have them, with commas between
    #[arg(long, value_name = "STEPS", requires = "scenario", conflicts_with = "exhaustive")]
    pub schedule: Option<String>,
    #[command(flatten)]
    pub agents_are: RaceAgentArgs,
    /// A control plane that is wrong in this way
    #[arg(long, value_name = "NAME", requires = "scenario")]
    pub mutant: Option<String>,
    /// Judge all wrong control planes: each must be caught within 500 schedules (or --schedules)
    #[arg(long, conflicts_with_all = ["scenario", "exhaustive"])]
    pub mutants: bool,
    /// Where capsules of failures go
    #[arg(long, default_value = "target/plexlab", value_name = "DIR")]
    pub reports: PathBuf,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// How long: 90s, 30m, 2h. What plays then is played to its end
    #[arg(long = "for", default_value = "30m", value_name = "TIME", value_parser = long)]
    pub duration: Duration,
    /// How many play at a time, each with a stack of its own
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = at_once)]
    pub stacks: usize,
    /// Seed of what is played
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// Where capsules of failures go
    #[arg(long, default_value = "target/plexlab", value_name = "DIR")]
    pub reports: PathBuf,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct RaceAgentArgs {
    /// With real processes: agents are this program, each behind a proxy: plexd=stand-in or plexd=bin:PATH; more than 12
    /// only join, all behind one. Without it, they are connections
    #[arg(long = "image", value_name = "NAME=SOURCE")]
    pub image: Option<String>,
    /// Generation of that program: current or 2026-02
    #[arg(long, value_name = "GENERATION", requires = "image")]
    pub agent: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct ReproArgs {
    /// The capsule; with --new, the text of a filled-in bug report
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub agents_are: RaceAgentArgs,
    /// How often it is played: 100 times, the run of a scenario 3 times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub times: Option<u32>,
    /// Look for a shorter schedule that breaks the same rule, and write it beside the file
    #[arg(long)]
    pub minimise: bool,
    /// Make a capsule of a bug report (.github/ISSUE_TEMPLATE/race.yml) and write it beside the file
    #[arg(long)]
    pub new: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct TimelineArgs {
    /// A capsule of a race or of a run, or a run's report.json
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which scenario of a report, if it has several
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// Write a page for browsers to this file instead
    #[arg(long, value_name = "PAGE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct KubeArgs {
    #[command(subcommand)]
    pub command: KubeCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum KubeCommand {
    /// Serve a cluster in the foreground; Ctrl-C or SIGTERM ends it and leaves nothing
    Serve(ServeArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Number of nodes, on which pods run as processes; 1, or 0 without controllers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub nodes: Option<u32>,
    /// Only the API: nothing schedules, rolls out, collects garbage or makes service accounts
    #[arg(long)]
    pub without_controllers: bool,
    /// More users, a CSV file as of kube-apiserver's --token-auth-file: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Audit policy (audit.k8s.io/v1) that says what the audit log holds
    #[arg(long, value_name = "FILE", requires = "audit_log")]
    pub audit_policy: Option<PathBuf>,
    /// Where the audit log goes, one JSON document per line
    #[arg(long, value_name = "FILE", requires = "audit_policy")]
    pub audit_log: Option<PathBuf>,
    /// Port of 127.0.0.1 for the API; without it, the system chooses
    #[arg(long, default_value_t = 0, value_name = "PORT", hide_default_value = true)]
    pub port: u16,
    /// Where the kubeconfig goes; without it, a fresh private directory
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// A program for an image: NAME=PATH; repeatable. Always there: `busybox`, this machine's own programs, and the
    /// stand-ins, plexlab.dev/NAME:dev
    #[arg(long = "image", value_name = "NAME=PATH")]
    pub images: Vec<String>,
    /// Have the image postgres:16-alpine, too, of this machine's own server or one that is downloaded: all that a stack
    /// needs that is attached to this cluster (`--backend kubeconfig`)
    #[arg(long)]
    pub postgres: bool,
    /// End as well when standard input ends: with it a cluster never outlives the tests that started it
    #[arg(long)]
    pub until_stdin_ends: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Only these measurements; without any, all: up, apiserver, kube, eso, memory, race, run
    #[arg(value_name = "NAME")]
    pub only: Vec<String>,
    /// How often each is repeated
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Size of what `kube` and `eso` measure: 1 is 1,000 watches and 20,000 pods, and 1,000 ExternalSecrets
    #[arg(long, default_value_t = 1.0, value_name = "SHARE", value_parser = share)]
    pub scale: f64,
    /// Measure in this build, optimised or not: for tests of the measuring
    #[arg(long, hide = true)]
    pub as_built: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// More would be more stacks than a machine has address blocks for.
fn at_once(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

/// `90s`, `30m`, `2h`.
fn long(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90s, 30m or 2h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|all| *all > 0).map(Duration::from_secs).ok_or_else(wrong)
}

fn case(text: &str) -> Result<(usize, u32), String> {
    let parsed = text.split_once('/').and_then(|(index, nth)| Some((index.parse().ok()?, nth.parse().ok()?)));
    parsed.ok_or_else(|| "expected INDEX/REPETITION".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let wrong = || "expected a number above 0, and at most 1".to_owned();
    text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(wrong)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
