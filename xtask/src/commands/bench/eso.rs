//! `bench eso`: many ExternalSecrets on one store, from the first one's creation to the last one's readiness, and the
//! operator's memory; of ours, and of the real operator where `PLEXLAB_ESO` names its program.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use plexlab_harness::images::{Component, ImageChoice, ImageSource, Images};
use plexlab_harness::machine::memory::memory_of_tree;
use plexlab_harness::stack::running::RunningStack;
use plexlab_scenarios::clients::many_secrets::ManySecrets;
use plexlab_scenarios::clients::vault::Vault;

use super::figure::{Better, Figure};
use super::measure::{stack_with, stop};
use crate::exit::{FAILED, Failure};
use crate::printer;

/// Names the real operator's program.
const VARIABLE: &str = "PLEXLAB_ESO";
/// ExternalSecrets on the store.
const MANY: f64 = 1_000.0;
/// Limit for all of them.
const WITHIN: Duration = Duration::from_secs(600);
/// The entry that all of them read.
const ENTRY: &str = "bench/entry";

/// What was measured of one operator, one value for each round.
struct Rounds {
    seconds: Vec<f64>,
    idle: Vec<f64>,
    full: Vec<f64>,
}

impl Rounds {
    fn figures(self, many: u32) -> [Figure; 3] {
        [
            Figure::new(format!("{many} ExternalSecrets, creation to all Ready"), "s", self.seconds, None),
            Figure::new("  operator's memory before", "MiB", self.idle, None),
            Figure::new("  operator's memory when all are Ready", "MiB", self.full, None),
        ]
    }
}

/// Time and memory, beside the real operator when it is given. Each round has a stack of its own.
pub async fn eso(repeat: u32, scale: f64) -> Result<Vec<Figure>, Failure> {
    // At most a thousand: the share is at most 1.
    let many = (MANY * scale).ceil().max(1.0) as u32;
    let ours = rounds(repeat, many, &Images::default(), "external-secrets").await?.figures(many);
    let Some(program) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        printer::say(&format!("{VARIABLE} is not set: the real operator is not measured beside it"));
        return Ok(ours.into());
    };
    // The kernel keeps 15 letters of a program's name.
    let name: String = program.file_name().unwrap_or_default().to_string_lossy().chars().take(15).collect();
    let choice = ImageChoice { component: Component::ExternalSecrets, source: ImageSource::Bin(program) };
    let real = rounds(repeat, many, &Images::new([choice]), &name).await?.figures(many);
    let pairs = ours.into_iter().zip(&real);
    Ok(pairs.map(|(ours, real)| ours.beside(real, Better::Less, None)).collect())
}

async fn rounds(repeat: u32, many: u32, images: &Images, program: &str) -> Result<Rounds, Failure> {
    let mut rounds = Rounds { seconds: Vec::new(), idle: Vec::new(), full: Vec::new() };
    for number in 1..=repeat {
        let stack = stack_with(1, number, images.clone()).await?;
        let measured = round(&stack, many, program, &mut rounds).await;
        stop(stack).await?;
        measured?;
    }
    Ok(rounds)
}

async fn round(stack: &RunningStack, many: u32, program: &str, rounds: &mut Rounds) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(FAILED, error.to_string());
    let vault = Vault::new(reqwest::Client::new(), &stack.addresses.vault, stack.secrets.vault_token.clone());
    vault.put_token(ENTRY, &"value".into()).await.map_err(|error| failed(&error))?;
    rounds.idle.push(memory(program)?);
    let secrets = ManySecrets::new(stack.client.clone(), "vault-backend", ENTRY);
    let begun = Instant::now();
    secrets.create(many).await.map_err(|error| failed(&error))?;
    secrets.wait_ready(many, WITHIN).await.map_err(|error| failed(&error))?;
    rounds.seconds.push(begun.elapsed().as_secs_f64());
    rounds.full.push(memory(program)?);
    Ok(())
}

/// The operator's, in MiB.
fn memory(program: &str) -> Result<f64, Failure> {
    let all = memory_of_tree(std::process::id());
    let kibibytes = all.get(program).ok_or_else(|| {
        let names = all.keys().cloned().collect::<Vec<_>>().join(", ");
        Failure::new(FAILED, format!("no process is called {program}; there are {names}"))
    })?;
    Ok(*kibibytes as f64 / 1024.0)
}
