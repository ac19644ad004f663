//! `bench`: measures, in an optimised build, with the machine described beside the figures. Asserts nothing.

mod eso;
mod figure;
mod kube;
mod measure;
mod real_kube;

use plexlab_harness::machine::description::Machine;
use serde_json::json;

use self::figure::print;
use crate::cli::{BenchArgs, Output};
use crate::commands::block_on;
use crate::exit::{FAILED, Failure, PREREQUISITE, USAGE};
use crate::printer;
use crate::suggestion::nearest;

/// What can be measured.
/// Memory comes first: what later measurements leave to the allocator would count.
const NAMES: [&str; 7] = ["memory", "up", "apiserver", "kube", "eso", "race", "run"];

pub fn run(args: BenchArgs) -> Result<(), Failure> {
    if let Some(unknown) = args.only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        let failure = Failure::new(USAGE, format!("there is no measurement `{unknown}`"));
        let all = NAMES.join(", ");
        return Err(match nearest(unknown, NAMES) {
            Some(near) => failure.help(format!("did you mean `{near}`? there are {all}")),
            None => failure.help(format!("there are {all}")),
        });
    }
    if cfg!(debug_assertions) && !args.as_built {
        in_optimised_build(&args)
    } else {
        block_on(measure_all(args))
    }
}

/// Figures of an unoptimised build mean nothing: builds and runs the same command optimised.
fn in_optimised_build(args: &BenchArgs) -> Result<(), Failure> {
    printer::say("building with optimisations");
    let mut arguments: Vec<String> =
        ["run", "--quiet", "--release", "--package", "xtask", "--", "bench"].map(str::to_owned).into();
    arguments.extend(args.only.iter().cloned());
    arguments.push(format!("--repeat={}", args.repeat));
    arguments.push(format!("--scale={}", args.scale));
    if args.output == Output::Json {
        arguments.push("--output=json".into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let outcome = duct::cmd(cargo, arguments).unchecked().run();
    let status = outcome.map_err(|error| Failure::new(PREREQUISITE, format!("run cargo: {error}")))?.status;
    if status.success() { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

async fn measure_all(args: BenchArgs) -> Result<(), Failure> {
    let machine = Machine::read();
    if args.output == Output::Text {
        printer::data(&format!("{machine}\n"));
    }
    let mut figures = Vec::new();
    for name in NAMES {
        if !args.only.is_empty() && !args.only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let new = match name {
            "up" => measure::up(args.repeat).await?,
            "apiserver" => measure::apiserver(args.repeat).await?,
            "kube" => kube::kube(args.repeat, args.scale).await?,
            "eso" => eso::eso(args.repeat, args.scale).await?,
            "memory" => measure::memory().await?,
            "race" => measure::race().await?,
            _ => measure::all_scenarios().await?,
        };
        if args.output == Output::Text {
            new.iter().for_each(print);
        }
        figures.extend(new);
    }
    if args.output == Output::Json {
        printer::json(&json!({"machine": machine, "figures": figures}));
    }
    Ok(())
}
