//! Two witnesses of a Resource's life: one asks the API again and again, the other reads the rows; and a third one of
//! the objects in the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt as _, watcher};
use plexlab_harness::run::Failure;
use plexlab_harness::timeline::{Entry, Source, Timeline};
use plexlab_lab::{Check, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ground::{Ground, PARTS, WITHIN, namespace};
use crate::provisioning::phase::{Phase, moved_legally, subsequence};

/// The phases of a life without mishaps.
pub const LIFE: [&str; 7] =
    ["Pending", "Provisioning", "Enrolling", "Ready", "Deregistering", "Deprovisioning", "Deleted"];
/// How often the API is asked.
const PERIOD: Duration = Duration::from_millis(20);

/// Watches one Resource until it is asked for its account.
pub struct Witness {
    resource: Uuid,
    seen: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
}

impl Witness {
    /// Begins to watch. A control plane that does not answer is asked again.
    pub fn of(ground: &Ground<'_>, resource: Uuid) -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let stop = CancellationToken::new();
        let (client, timeline) = (ground.as_owner.clone(), ground.run.stack.timeline.clone());
        let watching = {
            let seen = Arc::clone(&seen);
            async move {
                let mut period = tokio::time::interval(PERIOD);
                period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    period.tick().await;
                    let Ok(found) = client.resource(resource).await else { continue };
                    let Some(phase) = found.provisioning.map(|provisioning| provisioning.phase) else {
                        continue;
                    };
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen.last() != Some(&phase) {
                        timeline.record(Source::Http, &format!("Resource {resource}"), &phase);
                        seen.push(phase);
                    }
                }
            }
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = watching => {}
            }
        });
        Self { resource, seen, stop }
    }

    /// The phases that the API showed so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until both the API and the rows show this phase.
    ///
    /// # Errors
    /// When they do not.
    pub async fn until(&self, ground: &Ground<'_>, phase: &str) -> Result<(), Failure> {
        let both = eventually(format!("the phase {phase} in the API and in the rows"), WITHIN, || async {
            let row = ground.history.phase(self.resource).await.ok().flatten();
            let seen = self.seen();
            if row.as_deref() == Some(phase) && seen.last().is_some_and(|last| last == phase) {
                Check::Done(())
            } else {
                Check::NotYet(format!("the row has {row:?}, the API showed {seen:?}"))
            }
        });
        Ok(both.await?)
    }

    /// Stops to watch, and holds what was seen against the rows: every move legal, each beginning where the one before
    /// ended, and the API never showing anything else. Returns the phases by the rows, and those that the API showed.
    ///
    /// # Errors
    /// When the witnesses disagree, or a move is illegal.
    pub async fn account(self, ground: &Ground<'_>) -> Result<(Vec<String>, Vec<String>), Failure> {
        self.stop.cancel();
        let rows = moved_legally(&ground.history.moves(self.resource).await?)?;
        let seen = self.seen();
        let phases = seen.iter().map(|phase| Phase::parse(phase)).collect::<Result<Vec<_>, _>>()?;
        subsequence(&phases, &rows)?;
        Ok((rows.iter().map(ToString::to_string).collect(), seen))
    }

    /// As [`Self::account`], and exactly this life is what both tell.
    ///
    /// # Errors
    /// When one tells another.
    pub async fn expect(self, ground: &Ground<'_>, life: &[&str]) -> Result<(), Failure> {
        let (rows, seen) = self.account(ground).await?;
        if rows == life && seen == life {
            return Ok(());
        }
        Err(Failure::expected(format!("{life:?}"), format!("{rows:?} in the rows, {seen:?} in the API")))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Appeared,
    /// Its deletion was asked for.
    Ending,
    /// It has gone.
    Gone,
}

/// Watches the objects of a Project's namespace.
pub struct Sightings {
    seen: Arc<Mutex<Vec<(String, Fate, Timestamp)>>>,
    stop: CancellationToken,
}

impl Sightings {
    /// Begins to watch all kinds that a Resource of the seeded blueprint has.
    pub fn of(ground: &Ground<'_>, project: Uuid) -> Self {
        let this = Self { seen: Arc::default(), stop: CancellationToken::new() };
        for (api_version, kind) in PARTS {
            let api = ground.objects((api_version, kind), &namespace(project));
            let timeline = ground.run.stack.timeline.clone();
            let (seen, stopped) = (Arc::clone(&this.seen), this.stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = watch(api, kind, &seen, &timeline) => {}
                }
            });
        }
        this
    }

    /// When something was seen first of an object, by its kind and name.
    pub fn first(&self, object: &str, fate: Fate) -> Option<Timestamp> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find(|(name, what, _)| name == object && *what == fate).map(|(_, _, at)| *at)
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn watch(
    api: Api<DynamicObject>,
    kind: &str,
    seen: &Mutex<Vec<(String, Fate, Timestamp)>>,
    timeline: &Timeline,
) {
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut known = BTreeMap::<String, Fate>::new();
    loop {
        let (object, gone) = match events.try_next().await {
            Ok(Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) => (object, false),
            Ok(Some(watcher::Event::Delete(object))) => (object, true),
            Ok(Some(watcher::Event::Init | watcher::Event::InitDone)) => continue,
            Ok(None) => return,
            // A kind that is not served yet, or a server that restarts: the watch goes on.
            Err(_) => continue,
        };
        let name = format!("{kind} {}", object.name_any());
        let fate = match (gone, object.metadata.deletion_timestamp.is_some()) {
            (true, _) => Fate::Gone,
            (false, true) => Fate::Ending,
            (false, false) => Fate::Appeared,
        };
        if known.insert(name.clone(), fate) == Some(fate) {
            continue;
        }
        let at = Timestamp::now();
        timeline.add(Entry {
            at,
            source: Source::Kubernetes,
            actor: name.clone(),
            what: format!("{fate:?}"),
            fields: BTreeMap::new(),
        });
        seen.lock().unwrap_or_else(PoisonError::into_inner).push((name, fate, at));
    }
}
