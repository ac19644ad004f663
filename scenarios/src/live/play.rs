//! Whole schedules with real processes: drawn from a seed, played again, shortened.

use std::collections::BTreeMap;

use plexlab_harness::backend::bare::BareSpec;
use plexlab_race::capsule::Capsule;
use plexlab_race::checkers::{Violation, check, still_broken};
use plexlab_race::explore::{Chooser, READABLE, Shrinking, finishing};
use plexlab_race::history::History;
use plexlab_race::mutants;
use plexlab_race::scenario::{Options, Scenario};
use plexlab_race::sim::choice::Choice;
use plexlab_race::turns::turns;

use super::arena::{Arena, ArenaSpec, LiveError, MOST_PEOPLE};
use super::cast::Cast;
use super::crowd;
use super::field::Field;
use super::world::World;

/// Steps after which a run is cut off: far more than any that ends by itself.
const LONGEST: usize = 5_000;
/// With more agents than this nobody is held at gates: they race as they come.
pub const FEW: u16 = 12;

/// A race that was held.
#[derive(Debug)]
pub struct Played {
    /// Its steps.
    pub schedule: Vec<Choice>,
    /// What happened.
    pub history: History,
    /// What it began with.
    pub field: Field,
    /// The last lines that agents said.
    pub logs: BTreeMap<String, Vec<String>>,
}

impl Played {
    /// Whether one of the rules was broken that were broken before.
    pub fn still_breaks(&self, before: &[Violation]) -> bool {
        still_broken(&self.history, before)
    }

    /// As a capsule, with what ran, was said and is in the database.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn capsule(
        self,
        arena: &Arena,
        scenario: &Scenario,
        options: &Options,
        seed: (u64, u64),
    ) -> Result<Capsule, LiveError> {
        let mut live = arena.describe(&self.field).await?;
        live.logs.extend(self.logs);
        Ok(Capsule::of(scenario, options, seed, self.schedule, self.history, Some(live)))
    }
}

/// What an arena must be for a scenario to be played in it.
///
/// # Errors
/// When it is too large.
pub fn arena(scenario: &Scenario, options: &Options) -> Result<ArenaSpec, LiveError> {
    let cast = Cast::of(scenario, options);
    if cast.people.len() > MOST_PEOPLE {
        return Err(LiveError::TooMany(cast.people.len()));
    }
    // So many that nobody waits for one while others are held; an agent's request may be doubled, and asked again.
    let held = cast.agents.len().min(FEW.into()) * 3 + cast.people.len();
    let bare = BareSpec {
        connections: held + 8,
        planted_defect: options.defect.map(mutants::name),
        catalog: !cast.ground.assignments.is_empty() || cast.life.is_some(),
        brokers: None,
    };
    Ok(ArenaSpec { bare, brokers: cast.life.map_or(0, |around| around.brokers) })
}

/// Whether nobody is held at gates in it: there are too many.
pub fn is_crowd(scenario: &Scenario, options: &Options) -> bool {
    Cast::of(scenario, options).is_crowd()
}

/// Plays one schedule of a seed.
///
/// # Errors
/// When the race cannot be held.
pub async fn play(
    arena: &mut Arena,
    scenario: &Scenario,
    options: &Options,
    (seed, number): (u64, u64),
) -> Result<Played, LiveError> {
    let cast = Cast::of(scenario, options);
    if cast.is_crowd() {
        return crowd::play(arena, &cast, (seed, number)).await;
    }
    let mut chooser = Chooser::new(seed, number);
    let mut world = World::new(arena, cast).await?;
    let mut schedule = Vec::new();
    while schedule.len() < LONGEST {
        world.wait().await?;
        let Some(choice) = chooser.choose(&world.choices()) else { break };
        schedule.push(choice);
        world.step(choice).await?;
    }
    let settled = schedule.len() < LONGEST;
    Ok(Played { schedule, ..world.into_played(settled).await? })
}

/// Plays a schedule again: what cannot happen is left out, and in the end everybody finishes, one after another.
///
/// # Errors
/// When the race cannot be held.
pub async fn replay(
    arena: &mut Arena,
    scenario: &Scenario,
    options: &Options,
    schedule: &[Choice],
) -> Result<Played, LiveError> {
    let mut world = World::new(arena, Cast::of(scenario, options)).await?;
    let (mut last, mut steps) = (None, 0);
    for choice in schedule {
        world.wait().await?;
        if world.choices().contains(choice) {
            world.step(*choice).await?;
            last = Some(*choice);
            steps += 1;
        }
    }
    while steps < LONGEST {
        world.wait().await?;
        let Some(choice) = finishing(&world.choices(), last) else { break };
        world.step(choice).await?;
        last = Some(choice);
        steps += 1;
    }
    Ok(Played { schedule: schedule.to_vec(), ..world.into_played(steps < LONGEST).await? })
}

/// Plays a capsule so many times; in how many what is broken in it was broken again.
///
/// # Errors
/// When the race cannot be held.
pub async fn reproduce(
    arena: &mut Arena,
    scenario: &Scenario,
    capsule: &Capsule,
    of: u32,
) -> Result<u32, LiveError> {
    let mut times = 0;
    for _ in 0..of {
        let played = if is_crowd(scenario, &capsule.options) {
            play(arena, scenario, &capsule.options, (capsule.seed, capsule.number)).await?
        } else {
            replay(arena, scenario, &capsule.options, &capsule.schedule).await?
        };
        times += u32::from(capsule.is_shown_by(&played.history));
    }
    Ok(times)
}

/// A failure by one of the same rules in fewer steps: as small as the search in memory would make it.
///
/// # Errors
/// When the race cannot be held.
pub async fn minimise(
    arena: &mut Arena,
    scenario: &Scenario,
    options: &Options,
    schedule: &[Choice],
    broken: &[Violation],
) -> Result<(Options, Played), LiveError> {
    let small = shrink(arena, scenario, options, schedule, |played| played.still_breaks(broken)).await?;
    if turns(&small.1.schedule).len() <= READABLE || !small.1.still_breaks(broken) {
        return Ok(small);
    }
    shrink(arena, scenario, &small.0, &small.1.schedule, |played| !check(&played.history).is_empty()).await
}

async fn shrink(
    arena: &mut Arena,
    scenario: &Scenario,
    options: &Options,
    schedule: &[Choice],
    breaks: impl Fn(&Played) -> bool,
) -> Result<(Options, Played), LiveError> {
    let mut shrinking = Shrinking::new(scenario, options, schedule);
    while let Some((options, schedule)) = shrinking.candidate() {
        let played = replay(arena, scenario, options, schedule).await?;
        shrinking.tried(breaks(&played));
    }
    let (options, schedule) = shrinking.done();
    let played = replay(arena, scenario, &options, &schedule).await?;
    Ok((options, played))
}
