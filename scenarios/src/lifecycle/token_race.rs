//! The enrolment Job and intruders with the same token: exactly one Node, whoever is first.

use std::pin::pin;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use plexlab_harness::run::{Failure, Run};
use plexlab_lab::{Check, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ground::{Ground, WITHIN};
use super::hold;
use super::witness::{LIFE, Witness};

/// Intruders that ask at the same time.
const INTRUDERS: usize = 8;
/// A public key that nobody has the other half of.
const KEY: &str = "pUSup6FVosk9ukRLn31c3psrpV8HDTa3VxK16bSbIWw=";

/// Who gets the token before the other can ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The intruders ask while the Job has no pod yet.
    Intruders,
    /// Both at once.
    Together,
    /// The Job is done.
    Job,
}

/// Runs the scenario.
///
/// # Errors
/// When not exactly one Node comes of a token.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let ground = Ground::prepare(run).await?;
    race(&ground, Start::Job, "the Job first").await?;
    race(&ground, Start::Intruders, "intruders first").await?;
    race(&ground, Start::Together, "both at once").await
}

/// Registers with a token, as the enrolment Job does. Returns status and problem code.
///
/// # Errors
/// When no answer comes.
pub async fn register(
    ground: &Ground<'_>,
    project: Uuid,
    token: &str,
    nonce: &Value,
) -> Result<(u16, String), Failure> {
    let url = format!("{}/v1/register", ground.run.stack.addresses.control_plane);
    let body = json!({"bootstrap_token": token, "project_id": project, "resource_id": "cloudless-node",
        "nonce": nonce, "public_key": KEY});
    let answer = ground.http.post(url).json(&body).send().await?;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap_or_default();
    Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
}

async fn race(ground: &Ground<'_>, start: Start, name: &str) -> Result<(), Failure> {
    let (owner, operator, project) = (ground.owner, ground.operator, ground.project);
    let step = |what: &str| format!("{what} ({name})");
    let before = ground.registrations().await?.len();
    if start != Start::Job {
        hold::no_pods(ground).await?;
    }
    let resource = owner.step(&step("declare a Resource"), ground.provision(project)).await?;
    let witness = Witness::of(ground, resource.id);
    let until = if start == Start::Job { "Ready" } else { "Enrolling" };
    owner.step(&step(&format!("see it {until}")), witness.until(ground, until)).await?;
    let read = async {
        let composite = ground.composite(&resource).await?.unwrap_or_default();
        let token = composite.pointer("/spec/parameters/helmValues/bootstrapToken").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| Failure::expected("a token", "none in the Composite Resource"))
    };
    let token = operator.step(&step("read the token in the cluster, as its administrator can"), read).await?;
    ground.run.stack.redactor.register(&token);

    let intrude = async {
        let attempts: FuturesUnordered<_> = (0..INTRUDERS)
            .map(|number| {
                let nonce = json!(format!("intruder-{number}-{}", Uuid::new_v4()));
                let token = &token;
                async move { register(ground, project, token, &nonce).await }
            })
            .collect();
        let mut attempts = pin!(attempts);
        let mut answers = Vec::new();
        while let Some(answer) = attempts.next().await {
            answers.push(answer?);
        }
        Ok::<_, Failure>(answers)
    };
    let answers = match start {
        Start::Job => operator.step(&step("try the token again"), intrude).await?,
        Start::Intruders => {
            let answers = operator.step(&step("redeem the token many times at once"), intrude).await?;
            hold::pods_again(ground).await?;
            answers
        }
        Start::Together => {
            let both = async {
                hold::pods_again(ground).await?;
                intrude.await
            };
            operator.step(&step("redeem the token while the Job starts"), both).await?
        }
    };
    let winners = answers.iter().filter(|(status, _)| *status == 201).count();
    let refused = answers.iter().filter(|(status, code)| *status == 403 && code == "token_consumed").count();
    if winners > 1 || winners + refused != INTRUDERS {
        return Err(Failure::expected("at most one 201, else 403 token_consumed", format!("{answers:?}")));
    }
    owner.step(&step("see it Ready"), witness.until(ground, "Ready")).await?;

    let one = async {
        let nodes = ground.history.nodes(resource.id).await?;
        if nodes.len() != 1 || nodes[0].address.is_empty() {
            return Err(Failure::expected("one Node with one address", format!("{nodes:?}")));
        }
        // The Job tries again every five seconds: it is refused, or it was the one.
        let seen = eventually("the Job's registration in the record", WITHIN, || async {
            match ground.registrations().await {
                Ok(seen) if seen.len() > before + INTRUDERS => Check::Done(seen[before..].to_vec()),
                Ok(seen) => Check::NotYet(format!("{} registrations", seen.len() - before)),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        let seen = seen.await?;
        let created = seen.iter().filter(|exchange| exchange.status == Some(201)).count();
        let code = |code: &str| {
            let has = |exchange: &&plexlab_lab::Exchange| {
                exchange.status == Some(403) && exchange.notes.get("code").is_some_and(|found| found == code)
            };
            seen.iter().filter(has).count()
        };
        let refused = code("token_consumed");
        if created == 1 && created + refused == seen.len() {
            return Ok(());
        }
        let seen: Vec<_> =
            seen.iter().map(|exchange| (exchange.status, exchange.notes.get("code"))).collect();
        Err(Failure::expected("one 201, else 403 token_consumed", format!("{seen:?}")))
    };
    operator.step(&step("find one Node, one address, one 201"), one).await?;
    let end = async {
        ground.delete(resource.id).await?;
        witness.until(ground, "Deleted").await?;
        ground.until_nothing_remains(project).await
    };
    owner.step(&step("delete it, and find nothing left"), end).await?;
    let (rows, seen) = witness.account(ground).await?;
    if rows == LIFE {
        Ok(())
    } else {
        Err(Failure::expected(format!("{LIFE:?}"), format!("{rows:?}, {seen:?}")))
    }
}
