//! Clocks that disagree by ten minutes: heartbeats are refused, events are not believed, and all of it passes with the
//! difference.

use plexlab_harness::run::{Failure, Run};
use serde_json::json;

use super::life::Life;

/// Far more than a heartbeat (60 s) or an event (300 s) may be off.
const OFF: i64 = 600;

/// Runs the scenario.
///
/// # Errors
/// When the agent ends, registers again, or does not recover.
pub async fn run(run: &Run) -> Result<(), Failure> {
    let life = Life::begin(run).await?;
    let (owner, customer) = (life.adoption.owner, life.adoption.customer);
    owner.step("see the event stream open", life.streams(1)).await?;
    let ahead = life.adoption.lab("clock", json!({"advance_seconds": OFF}));
    owner.step("put the control plane's clock ten minutes ahead", ahead).await?;
    owner.step("see heartbeats refused with 400", life.beats(400, 2)).await?;
    let line = life.adoption.cluster.wait_log(&life.pod, "clock_skew");
    customer.saw(customer.step("read clock_skew in the agent's log", line).await?);
    life.owner_sees("unreachable").await?;
    owner.step("send an event", life.send(1)).await?;
    let line = life.adoption.cluster.wait_log(&life.pod, "event timestamp is in the future");
    customer.saw(customer.step("see that the agent does not believe its time", line).await?);
    customer.step("see the same pod and the same Node", life.same_pod_and_node()).await?;

    let right = life.adoption.lab("clock", json!({"advance_seconds": -OFF}));
    owner.step("set the clock right", right).await?;
    owner.step("see heartbeats accepted", life.beats(200, 2)).await?;
    life.owner_sees("healthy").await?;
    let event = owner.step("send another event", life.send(2)).await?;
    customer.step("see it taken", life.taken(&event)).await?;
    customer.step("see the same pod and the same Node", life.same_pod_and_node()).await
}
