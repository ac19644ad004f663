//! What can happen to an event on its way: the stream is cut in its middle, or somebody changes it.

use plexlab_harness::run::{Failure, Run};
use plexlab_lab::Fault;
use plexlab_lab::faults::Effect;

use super::life::Life;
use super::words;
use crate::adopt_via_eso::adoption::Adoption;

/// Every event stream.
const STREAMS: &str = "/v1/nodes/*/events";
/// Where the second event is cut, or changed: in its payload.
const SECOND: &str = "\"revision\":2";

async fn inject(
    adoption: &Adoption<'_>,
    what: &str,
    effect: Effect,
    times: Option<u32>,
) -> Result<(), Failure> {
    let fault = Fault { times, ..Fault::new(effect).on(STREAMS) };
    let server = adoption.run.stack.addresses.control_plane.clone();
    adoption.owner.step(what, adoption.inject(&server, &fault)).await.map(drop)
}

/// The connection breaks in the middle of an event: the agent opens the stream again where it was and gets the event
/// whole, once.
///
/// # Errors
/// When the event is lost, or taken twice.
pub async fn cut(run: &Run) -> Result<(), Failure> {
    let life = Life::begin_after(run, async |adoption| {
        let cut = Effect::CutBodyAt(SECOND.into());
        inject(adoption, "have the first stream break in the middle of its second event", cut, Some(1)).await
    });
    let life = life.await?;
    let (owner, customer) = (life.adoption.owner, life.adoption.customer);
    owner.step("see the event stream open", life.streams(1)).await?;
    let first = owner.step("send an event", life.send(1)).await?;
    customer.step("see it taken", life.taken(&first)).await?;
    let second = owner.step("send the event that is cut", life.send(2)).await?;
    owner.step("see the stream opened again", life.streams(2)).await?;
    customer.step("see the event taken after all", life.taken(&second)).await?;
    let third = owner.step("send another", life.send(3)).await?;
    customer.step("see that one taken", life.taken(&third)).await?;
    let mut times = Vec::new();
    for event in [&first, &second, &third] {
        times.push(life.times_taken(event).await);
    }
    if times != [1, 1, 1] {
        return Err(Failure::expected("each event taken once", format!("{times:?}")));
    }
    customer.saw("three events, each taken once, over two streams");
    customer.step("see the same pod and the same Node", life.same_pod_and_node()).await
}

/// An event is changed on its way: the agent refuses it by its signature, and the stream goes on.
///
/// # Errors
/// When the event is taken, or the stream ends.
pub async fn tampered(run: &Run) -> Result<(), Failure> {
    let life = Life::begin_after(run, async |adoption| {
        let change = Effect::Rewrite { from: SECOND.into(), to: "\"revision\":9".into() };
        inject(adoption, "have the second event changed on its way", change, None).await
    });
    let life = life.await?;
    let (owner, customer) = (life.adoption.owner, life.adoption.customer);
    owner.step("see the event stream open", life.streams(1)).await?;
    let first = owner.step("send an event", life.send(1)).await?;
    customer.step("see it taken", life.taken(&first)).await?;
    let second = owner.step("send the event that is changed", life.send(2)).await?;
    let what = "that refuses the signature";
    let line = life.adoption.cluster.wait_line(&life.pod, what, words::refuses_signature);
    let line = customer.step("see it refused", line).await?;
    customer.saw(&line);
    if !line.contains(&second) {
        return Err(Failure::expected(format!("event {second} refused"), line));
    }
    let third = owner.step("send another", life.send(3)).await?;
    customer.step("see that one taken", life.taken(&third)).await?;
    if life.times_taken(&second).await != 0 {
        return Err(Failure::expected("the changed event never taken", "it was"));
    }
    let one = async {
        match life.exchanges("events").await?.len() {
            1 => Ok(()),
            more => Err(Failure::expected("one stream all along", format!("{more} streams"))),
        }
    };
    owner.step("find one stream all along", one).await?;
    customer.step("see the same pod and the same Node", life.same_pod_and_node()).await
}
