//! Somebody who looks at a Resource again and again: every phase that is seen goes into the timeline, and with each
//! look whether the Composite Resource was there.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use plexlab_harness::run::Failure;
use plexlab_harness::timeline::{Entry, Source, Timeline};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::phase::Phase;
use super::substrate::{Composite, Substrate};
use crate::clients::plexsphere::Plexsphere;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(50);

/// Both at one moment: the phase was the same before and after the cluster was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The phase.
    pub phase: Phase,
    /// The Composite Resource.
    pub composite: Composite,
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The phases, each change once.
    pub phases: Vec<Phase>,
    /// Looks at both.
    pub samples: Vec<Sample>,
    /// Answers that are no phase at all.
    pub strange: Vec<String>,
}

impl Seen {
    fn phase(&mut self, phase: Phase) -> bool {
        let is_new = self.phases.last() != Some(&phase);
        if is_new {
            self.phases.push(phase);
        }
        is_new
    }

    /// The Composite Resource is there from Provisioning to Deregistering, and is not there in the end. While it is
    /// made the phase is still Pending, while it goes the phase is Deprovisioning, so neither says anything.
    ///
    /// # Errors
    /// A failure that names the first look that says otherwise.
    pub fn substrate_follows_phase(&self) -> Result<(), Failure> {
        if let Some(strange) = self.strange.first() {
            return Err(Failure::expected("phases that are published", strange));
        }
        for sample in &self.samples {
            let expected = match sample.phase {
                Phase::Provisioning | Phase::Enrolling | Phase::Ready | Phase::Deregistering => {
                    Composite::Present { deleting: false }
                }
                Phase::Deleted => Composite::Absent,
                Phase::Pending | Phase::Failed | Phase::Deprovisioning => continue,
            };
            if sample.composite != expected {
                let phase = sample.phase;
                return Err(Failure::expected(
                    format!("the Composite Resource to be {expected:?} in {phase}"),
                    format!("{:?}", sample.composite),
                ));
            }
        }
        Ok(())
    }
}

/// A watch that goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct Watch {
    stop: CancellationToken,
    task: Option<JoinHandle<Seen>>,
}

impl Watch {
    /// Begins, as `who` in the timeline, with a client that may read the Resource.
    pub fn start(
        who: &str,
        api: Plexsphere,
        substrate: Substrate,
        resource: Uuid,
        timeline: Timeline,
    ) -> Self {
        let stop = CancellationToken::new();
        let looker = Looker { who: who.to_owned(), api, substrate, resource, timeline };
        let task = tokio::spawn(looker.look_until(stop.clone()));
        Self { stop, task: Some(task) }
    }

    /// Ends, after one more look.
    ///
    /// # Errors
    /// When the watch itself broke.
    pub async fn stop(mut self) -> Result<Seen, Failure> {
        self.stop.cancel();
        match self.task.take() {
            Some(task) => Ok(task.await?),
            None => Ok(Seen::default()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Looker {
    who: String,
    api: Plexsphere,
    substrate: Substrate,
    resource: Uuid,
    timeline: Timeline,
}

impl Looker {
    async fn look_until(self, stop: CancellationToken) -> Seen {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Seen::default();
        let mut before = None;
        loop {
            tokio::select! {
                _ = period.tick() => {}
                () = stop.cancelled() => {}
            }
            let last = stop.is_cancelled();
            let composite = self.substrate.look(self.resource).await.ok();
            let after = self.phase(&mut seen).await;
            if let (Some(phase), Some(composite)) = (after, composite)
                && before == Some(phase)
            {
                seen.samples.push(Sample { phase, composite });
            }
            before = after;
            if last {
                return seen;
            }
        }
    }

    /// None while the control plane does not answer, which it may not do on purpose.
    async fn phase(&self, seen: &mut Seen) -> Option<Phase> {
        let text = self.api.resource(self.resource).await.ok()?.provisioning?.phase;
        match Phase::parse(&text) {
            Ok(phase) => {
                if seen.phase(phase) {
                    self.record(phase);
                }
                Some(phase)
            }
            Err(failure) => {
                seen.strange.push(failure.seen);
                None
            }
        }
    }

    fn record(&self, phase: Phase) {
        self.timeline.add(Entry {
            at: Timestamp::now(),
            source: Source::Http,
            actor: format!("{}: resource {}", self.who, self.resource),
            what: format!("is {phase}"),
            fields: BTreeMap::from([
                ("resource".to_owned(), self.resource.to_string()),
                ("phase".to_owned(), phase.as_str().to_owned()),
            ]),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(phase: Phase, composite: Composite) -> Seen {
        Seen { samples: vec![Sample { phase, composite }], ..Seen::default() }
    }

    #[test]
    fn a_substrate_that_goes_before_its_node_is_noticed() {
        let there = Composite::Present { deleting: false };
        let going = Composite::Present { deleting: true };
        for (phase, composite, right) in [
            (Phase::Pending, Composite::Absent, true),
            (Phase::Provisioning, there, true),
            (Phase::Provisioning, Composite::Absent, false),
            (Phase::Ready, there, true),
            (Phase::Deregistering, there, true),
            (Phase::Deregistering, going, false),
            (Phase::Deprovisioning, going, true),
            (Phase::Deleted, Composite::Absent, true),
            (Phase::Deleted, there, false),
        ] {
            let judged = seen(phase, composite).substrate_follows_phase();
            assert_eq!(judged.is_ok(), right, "{phase} {composite:?}");
        }
    }

    #[test]
    fn each_change_of_phase_is_kept_once() {
        let mut seen = Seen::default();
        let new: Vec<bool> = [Phase::Pending, Phase::Pending, Phase::Ready]
            .into_iter()
            .map(|phase| seen.phase(phase))
            .collect();
        assert_eq!(new, [true, false, true]);
        assert_eq!(seen.phases, [Phase::Pending, Phase::Ready]);
    }
}
