//! `bench kube`: our API server beside the real one with its etcd, by the same requests in the same run.
//!
//! Each is a process of its own and is asked over TLS and HTTP/1.1 at a loopback address, by one client: a connection
//! per sequential client, kept alive, as an admin in `system:masters`. The real one exempts that group from priority
//! and fairness, so its queues limit nobody; its etcd does not wait for the disk (`--unsafe-no-fsync`). Both mount
//! service accounts into pods. They run one after the other and with nothing beside them: no controllers, no kubelet.
//!
//! Owns: what is measured, in which order, and the goals. Does not own: starting servers (`backend/lone.rs`).

mod client;
mod fan_out;
mod latencies;
mod many;
mod objects;
mod sizes;
mod wire;

use std::time::{Duration, Instant};

use plexlab_harness::backend::envtest::assets::{Assets, MissingAssets};
use plexlab_harness::backend::lone::{Lone, Which};
use plexlab_harness::machine::memory::resident;
use plexlab_lab::{Check, eventually};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::client::{ClientError, Connection, Endpoint, Request};
use self::sizes::Sizes;
use super::figure::{Better, Figure, Ratio};
use crate::commands::choices;
use crate::commands::interrupt::interrupted;
use crate::exit::{FAILED, Failure, PREREQUISITE, STACK};
use crate::printer;

const START: Ratio = Ratio { text: "40 times faster than the real one", times: 40.0 };
const MEMORY: Ratio = Ratio { text: "a tenth of the real one's", times: 10.0 };
const LATENCY: Ratio = Ratio { text: "a fifth of the real one's", times: 5.0 };

/// How long a server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long one look may take: a server that is not ready yet may leave a request lying for a minute.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// How long the first objects may be refused after that: the real one fills its caches meanwhile.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(60);
/// How long one measurement may take. The longest, of 20,000 pods, takes the real one less than a minute on two cores.
const PHASE_WITHIN: Duration = Duration::from_secs(600);
/// Memory has settled when it changed by less than one per cent in this time,
const SETTLES_IN: Duration = Duration::from_millis(500);
/// or after so many looks.
const LOOKS_AT_MEMORY: u32 = 20;

/// One measurement of one server.
#[derive(Debug)]
struct Row {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    better: Better,
    goal: Option<Ratio>,
}

impl Row {
    /// Times or sizes.
    fn less(what: impl Into<String>, unit: &'static str, values: Vec<f64>, goal: Option<Ratio>) -> Self {
        Self { what: what.into(), unit, values, better: Better::Less, goal }
    }

    /// How many in a second.
    fn rate(what: impl Into<String>, count: usize, took: Duration) -> Self {
        let value = count as f64 / took.as_secs_f64();
        Self { what: what.into(), unit: "per s", values: vec![value], better: Better::More, goal: None }
    }

    /// The middle and the slowest hundredth of the times of many requests.
    fn percentiles(what: &str, mut times: Vec<Duration>) -> [Self; 2] {
        times.sort();
        [("p50", 50), ("p99", 99)].map(|(name, percent)| {
            let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            let micros = times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000_000.0);
            Self::less(format!("{what}, {name}"), "µs", vec![micros], Some(LATENCY))
        })
    }

    fn figure(&self) -> Figure {
        Figure::new(self.what.clone(), self.unit, self.values.clone(), None)
    }
}

/// Measures ours, and the real one when it is given.
pub async fn kube(repeat: u32, scale: f64) -> Result<Vec<Figure>, Failure> {
    tokio::select! {
        figures = both(repeat, Sizes::scaled(scale)) => figures,
        // What has been started goes with the future that holds it.
        () = interrupted() => Err(Failure::new(FAILED, "interrupted; nothing is left running")),
    }
}

async fn both(repeat: u32, sizes: Sizes) -> Result<Vec<Figure>, Failure> {
    allow_many_connections()?;
    let real = match Assets::from_environment() {
        Ok(assets) => Some(assets),
        Err(MissingAssets::Unset) => {
            printer::say(
                "KUBEBUILDER_ASSETS is not set: the real kube-apiserver is not measured beside ours",
            );
            None
        }
        Err(missing) => return Err(Failure::new(PREREQUISITE, missing.to_string())),
    };
    let ours = one(Which::Ours, repeat, sizes).await?;
    let Some(assets) = real else { return Ok(ours.iter().map(Row::figure).collect()) };
    let real = one(Which::Real(assets), repeat, sizes).await?;
    // The same measurements in the same order, by the same code.
    Ok(ours.iter().zip(&real).map(|(o, r)| o.figure().beside(&r.figure(), o.better, o.goal)).collect())
}

/// A thousand watches are as many connections; servers inherit the limit.
fn allow_many_connections() -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| Failure::new(STACK, format!("raise the limit of open files: {error}")))
}

/// All measurements of one server.
async fn one(which: Which, repeat: u32, sizes: Sizes) -> Result<Vec<Row>, Failure> {
    let name = match which {
        Which::Ours => "our API server",
        Which::Real(_) => "the real kube-apiserver with etcd",
    };
    printer::say(&format!("  {name}: start, {repeat} times"));
    let mut starts = Vec::new();
    let (lone, endpoint) = loop {
        let (lone, endpoint, took) = started(which.clone()).await?;
        starts.push(took.as_secs_f64() * 1000.0);
        if starts.len() >= repeat as usize {
            break (lone, endpoint);
        }
        end(lone).await;
    };
    let server = Server { name, lone, endpoint, sizes };
    let mut rows = vec![
        Row::less("start to ready", "ms", starts, Some(START)),
        // Not proportional: our server is the same file as this program, so half of its code would not be counted.
        Row::less(
            "resident memory, idle (the real one's with etcd's)",
            "MiB",
            vec![server.memory().await],
            Some(MEMORY),
        ),
    ];
    server.phase("the first objects", server.prepare()).await?;
    rows.extend(server.phase("single objects", latencies::measure(&server)).await?);
    rows.extend(server.phase("many watches", fan_out::measure(&server)).await?);
    rows.extend(server.phase("many objects", many::measure(&server)).await?);
    end(server.lone).await;
    Ok(rows)
}

/// Ends it and waits until it is gone.
async fn end(lone: Lone) {
    let _ = tokio::task::spawn_blocking(move || drop(lone)).await;
}

async fn started(which: Which) -> Result<(Lone, Endpoint, Duration), Failure> {
    let launched = Lone::launch(which, &choices::paths()?);
    let lone = launched.map_err(|error| Failure::new(STACK, error.to_string()))?;
    let endpoint = Endpoint::new(lone.address, &lone.token);
    let took = until_ready(&lone, &endpoint).await?;
    Ok((lone, endpoint, took))
}

/// From the start until `/readyz` answers 200. Looks are further apart the longer it takes, so that looking neither
/// costs a slow server its time nor blurs the figure of a quick one: it is at most two per cent, or a millisecond, late.
async fn until_ready(lone: &Lone, endpoint: &Endpoint) -> Result<Duration, Failure> {
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut connection, mut next) = (None, Duration::ZERO);
    loop {
        ticks.tick().await;
        let elapsed = lone.begun.elapsed();
        if elapsed < next {
            continue;
        }
        next = elapsed + elapsed / 50;
        let seen = match timeout(LOOK_WITHIN, readyz(endpoint, &mut connection)).await {
            Ok(Ok(())) => return Ok(lone.begun.elapsed()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if let Some(ended) = lone.ended() {
            return Err(Failure::new(STACK, ended));
        }
        if elapsed > READY_WITHIN {
            let text = format!("waited {READY_WITHIN:?} for a server to be ready; last seen: {seen}");
            return Err(Failure::new(STACK, text));
        }
    }
}

async fn readyz(endpoint: &Endpoint, kept: &mut Option<Connection>) -> Result<(), ClientError> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => endpoint.connect().await?,
    };
    let answer = connection.ask(Request::get("/readyz")).await?;
    *kept = Some(connection);
    answer.expect_success().map(drop)
}

/// A server that is ready.
#[derive(Debug)]
struct Server {
    name: &'static str,
    lone: Lone,
    endpoint: Endpoint,
    sizes: Sizes,
}

impl Server {
    /// One measurement, bounded; a failure says which it was, and how the server ended if it did.
    async fn phase<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failure> {
        printer::say(&format!("  {}: {what}", self.name));
        let begun = Instant::now();
        let why = match timeout(PHASE_WITHIN, work).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it was not over in time".to_owned(),
        };
        let ended = self.lone.ended().map(|ended| format!("; {ended}")).unwrap_or_default();
        let after = begun.elapsed().as_secs_f64();
        Err(Failure::new(STACK, format!("measure {what} of {}, after {after:.1} s: {why}{ended}", self.name)))
    }

    /// Resident memory of all its processes, in MiB, once it has settled.
    async fn memory(&self) -> f64 {
        let sum = || self.lone.processes().into_iter().filter_map(resident).sum::<u64>() as f64 / 1024.0;
        let mut ticks = interval(SETTLES_IN);
        ticks.tick().await;
        let mut before = sum();
        for _ in 0..LOOKS_AT_MEMORY {
            ticks.tick().await;
            let now = sum();
            if (now - before).abs() < before / 100.0 {
                return now;
            }
            before = now;
        }
        before
    }

    /// The namespaces, their service accounts, and a pod that is accepted: what no controller makes here.
    async fn prepare(&self) -> Result<(), ClientError> {
        let connection = tokio::sync::Mutex::new(self.endpoint.connect().await?);
        let first = objects::NAMESPACES.iter().flat_map(|namespace| {
            [
                objects::namespace(namespace),
                objects::service_account(namespace),
                objects::first_pod(namespace),
            ]
        });
        for request in first {
            let what = format!("{} to be accepted", request.path);
            let accepted = eventually(what, ACCEPTS_WITHIN, || async {
                let answer = match connection.lock().await.ask(request.clone()).await {
                    Ok(answer) => answer,
                    Err(error) => return Check::NotYet(error.to_string()),
                };
                match answer.expect_success() {
                    Ok(_) => Check::Done(()),
                    Err(error) => Check::NotYet(error.to_string()),
                }
            });
            accepted.await?;
        }
        latencies::warm_up(self).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_sorted_times() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        let values = Row::percentiles("get", times).map(|row| (row.what, row.values[0]));
        assert_eq!(values, [("get, p50".to_owned(), 101_000.0), ("get, p99".to_owned(), 199_000.0)]);
        assert_eq!(Row::percentiles("get", vec![Duration::from_millis(1)])[1].values, [1000.0]);
    }
}
