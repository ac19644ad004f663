//! One module per command.

mod bench;
mod checkout_bin;
mod child;
mod choices;
mod conformance;
mod contract;
mod doctor;
mod down;
mod driver;
mod env;
mod envtest;
mod fork;
mod gc;
mod ids;
mod images;
mod interrupt;
mod kube;
mod kubeconfig;
mod list;
mod logs;
mod mutants;
mod race;
mod race_live;
mod rbac;
mod repro;
mod repro_run;
mod run;
mod snapshot;
mod soak;
mod soak_base;
mod status;
mod test;
mod timeline;
mod tutorial;
mod up;

use crate::cli::{Cli, Command, ImagesArgs, ImagesCommand, KubeArgs, KubeCommand, RunArgs, UpArgs};
use crate::exit::Failure;
use crate::profile;

/// Runs the command.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match with_profile(cli.command)? {
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::List(args) => list::run(&args),
        Command::Race(args) if args.live => block_on(race_live::run(args)),
        Command::Race(args) => race::run(&args),
        Command::Repro(args) => repro::run(args),
        Command::Timeline(args) => timeline::run(&args),
        Command::Contract(args) => contract::run(&args),
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Env(args) => env::run(&args),
        Command::Up(args) if !args.dry_run && !args.foreground => up::run(&args),
        Command::Rbac(args) => rbac::run(&args),
        Command::Images(ImagesArgs { command: ImagesCommand::Build(args) }) => images::build(&args),
        Command::Down(args) => down::run(&args),
        Command::Snapshot(args) => snapshot::run(args.command),
        Command::Fork(args) => fork::run(&args),
        Command::Run(args) => block_on(run::run(args)),
        Command::Tutorial(args) => block_on(tutorial::run(args)),
        Command::Up(args) if args.dry_run => up::dry_run(&args),
        Command::Up(args) => block_on(driver::foreground(args)),
        Command::Driver(args) => block_on(driver::background(args)),
        Command::Conformance(args) => block_on(conformance::run(args)),
        Command::Mutants(args) => block_on(mutants::run(args)),
        Command::Kube(KubeArgs { command: KubeCommand::Serve(args) }) => block_on(kube::serve(args)),
        Command::Soak(args) => block_on(soak::run(args)),
        Command::Gc(args) => block_on(gc::run(args)),
        Command::Ids(args) => block_on(ids::run(args)),
        Command::Logs(args) => block_on(logs::run(args)),
        Command::Envtest(args) => block_on(envtest::run(args)),
        Command::Doctor(args) => block_on(doctor::run(args)),
    }
}

/// The command with what its profile chooses.
fn with_profile(command: Command) -> Result<Command, Failure> {
    Ok(match command {
        Command::Run(args) => Command::Run(RunArgs { backend: profile::applied(args.backend)?, ..args }),
        Command::Up(args) => Command::Up(UpArgs { backend: profile::applied(args.backend)?, ..args }),
        other => other,
    })
}

/// Two worker threads: the machines that plexlab is made for have few cores, and more threads cost memory.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(work);
            // Blocking tasks that hang must not keep the command from ending.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::new(crate::exit::PREREQUISITE, format!("start the runtime: {error}"))),
    }
}
