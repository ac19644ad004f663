//! The arguments of every command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Bring a stack up and leave it running
    Up(UpArgs),
    /// Take a stack down
    Down(StackArgs),
    /// Show the stacks
    Status(StatusArgs),
    /// Print DOMAIN_ID and BINDING_ID of the seeded Acme Corp, for `eval`
    Ids(StackArgs),
    /// Print the variables that point stock tools at a stack, for `eval`
    Env(StackArgs),
    /// Print the path of a stack's kubeconfig
    Kubeconfig(StackArgs),
    /// Print the logs of a stack's component
    Logs(LogsArgs),
    /// List the scenarios
    List(ListArgs),
    /// Check formatting, lints and all tests
    Test(TestArgs),
    /// Say what this machine has and lacks
    Doctor(ListArgs),
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
    #[arg(long, default_value = "dev", value_name = "NAME")]
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
pub struct LogsArgs {
    /// Component: postgres, control-plane, vault, external-secrets, plexd, or driver
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
    /// What serves the Kubernetes API and runs images
    #[arg(long, default_value = "embedded", value_name = "BACKEND")]
    pub backend: String,
    /// What runs for a component: NAME=stand-in, NAME=bin:PATH, NAME=image:REF or NAME=url:URL; repeatable
    #[arg(long = "image", value_name = "NAME=SOURCE")]
    pub images: Vec<String>,
    /// The External Secrets Operator's own definitions (its CRD bundle), in place of the stand-in's
    #[arg(long, value_name = "FILE")]
    pub crds: Option<PathBuf>,
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
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Only this scenario; repeatable
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// Play each scenario so many times
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
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
pub struct TestArgs {
    /// Passed on to `cargo test`, for example a filter
    #[arg(trailing_var_arg = true, value_name = "ARGS")]
    pub rest: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Only these measurements; without any, all: up, apiserver, memory, race, run
    #[arg(value_name = "NAME")]
    pub only: Vec<String>,
    /// How often each is repeated
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}
