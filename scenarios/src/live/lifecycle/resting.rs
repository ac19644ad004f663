//! When a step about a provisioned Resource is over: every broker is at a gate, or has looked since; what its watch is to
//! say has come to its gate; and what was committed is known.

use plexlab_race::history::{Event, Substrate};
use tokio::task::JoinHandle;

use super::broker::is_at_work;
use super::cluster::Composite;
use super::life::{Life, RESOURCE};
use crate::live::arena::{Arena, LiveError};
use crate::live::world::World;

/// What is still under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::live) struct Restless {
    /// Brokers that are at no gate and have not done looking: they may wait for a lock.
    pub(in crate::live) brokers: usize,
    /// Something is to come that waits for nobody.
    pub(in crate::live) due: bool,
}

fn ask_to_look(arena: &Arena, place: usize) -> JoinHandle<bool> {
    let url = format!("{}/__lab/broker/look", arena.bare.url_of(place));
    let request = arena.callers.post(url);
    tokio::spawn(async move { request.send().await.is_ok_and(|answer| answer.status().is_success()) })
}

/// Has every broker that is at no gate look, from now on.
fn look_again(arena: &Arena, life: &mut Life) {
    for (place, look) in life.looks.iter_mut().enumerate() {
        if let Some(before) = look.take() {
            before.abort();
        }
        *look = (!life.brokers[place].is_held()).then(|| ask_to_look(arena, place));
    }
}

impl World<'_> {
    /// A step was taken: every broker that is at no gate is to look again.
    pub(in crate::live) fn look_again(&mut self) {
        if let Some(life) = &mut self.life {
            life.as_of = life.changes;
            look_again(self.arena, life);
        }
    }

    /// Brokers that are at no gate and have not done looking.
    pub(in crate::live) async fn busy_brokers(&self) -> Result<usize, LiveError> {
        let Some(life) = &self.life else { return Ok(0) };
        let mut busy = 0;
        for (place, look) in life.looks.iter().enumerate() {
            if look.as_ref().is_some_and(|look| !look.is_finished()) {
                let waiting = self.arena.waiting_at(place).await?;
                busy += usize::from(!is_at_work(&waiting));
            }
        }
        Ok(busy)
    }

    /// What is known of brokers, for people.
    pub(in crate::live) fn describe_brokers(&self) -> String {
        self.life.as_ref().map_or_else(String::new, |life| format!("brokers: {:?}", life.brokers))
    }

    /// Looks at everything once.
    pub(in crate::live) async fn look_around(&mut self) -> Result<Restless, LiveError> {
        let Some(mut life) = self.life.take() else { return Ok(Restless::default()) };
        let outcome = self.is_restless(&mut life).await;
        self.life = Some(life);
        outcome
    }

    async fn is_restless(&mut self, life: &mut Life) -> Result<Restless, LiveError> {
        let (mut restless, before) = (Restless::default(), life.changes);
        // Who is where comes first: what they did to come there is then seen below.
        let mut looks = Vec::new();
        for place in 0..life.brokers.len() {
            let done = match life.looks[place].as_mut() {
                None => true,
                Some(look) if look.is_finished() => look.await.unwrap_or(false),
                Some(_) => {
                    restless.brokers += 1;
                    looks.push(self.arena.waiting_at(place).await?);
                    continue;
                }
            };
            // Its control plane was killed, or the database was gone: again.
            life.looks[place] = (!done).then(|| ask_to_look(self.arena, place));
            restless.brokers += usize::from(!done);
            looks.push(self.arena.waiting_at(place).await?);
        }
        self.read_cluster(life).await?;
        self.read_rows(life).await?;
        let version = life.object.as_ref().map_or("", |object| object.version.as_str()).to_owned();
        for (place, waiting) in looks.iter().enumerate() {
            let broker = &mut life.brokers[place];
            for id in broker.find(waiting, &life.names, &version, life.as_of) {
                self.arena.release(place, id).await?;
            }
            if broker.is_held()
                && let Some(look) = life.looks[place].take()
            {
                look.abort();
                restless.brokers -= 1;
            }
            restless.due |= broker.expects_news(&version);
        }
        if life.changes != before {
            restless.due = true;
            look_again(self.arena, life);
        }
        Ok(restless)
    }

    /// What was committed since.
    pub(super) async fn read_rows(&mut self, life: &mut Life) -> Result<(), LiveError> {
        let news = self.arena.witness.news().await?;
        for noted in &news {
            life.changes += u64::from(life.rows.take(noted));
        }
        life.written.extend(news);
        Ok(())
    }

    /// What has become of the Composite Resource, and of what goes with it.
    async fn read_cluster(&mut self, life: &mut Life) -> Result<(), LiveError> {
        let cluster = self.arena.cluster()?;
        let object = cluster.composite(&life.of).await?;
        // Nobody watches it, and nothing else depends on it: it goes at once.
        if object.is_none() && cluster.collect_provider(&life.of).await? {
            life.changes += 1;
        }
        let uid = |object: &Option<Composite>| object.as_ref().map(|object| object.uid.clone());
        let version = |object: &Option<Composite>| object.as_ref().map(|object| object.version.clone());
        let (before, after) = (uid(&life.object), uid(&object));
        life.changes += u64::from(version(&life.object) != version(&object));
        let terminating = object.as_ref().is_some_and(|object| object.terminating);
        if let Some(uid) = before.clone()
            && (after != before || terminating)
            && life.ended.as_ref() != Some(&uid)
        {
            let what = if life.sweeps { Substrate::Swept } else { Substrate::Deleted };
            self.sightings.event(Event::Cluster { resource: RESOURCE, what });
            life.ended = Some(uid);
        }
        if after.is_some() && after != before {
            self.sightings.event(Event::Cluster { resource: RESOURCE, what: Substrate::Made });
        }
        life.object = object;
        Ok(())
    }
}
