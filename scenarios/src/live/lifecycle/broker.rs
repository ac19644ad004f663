//! Where a broker is: at a gate, or done looking; and how far behind its view of the cluster is.

use plexlab_lab::gates::Held;

/// The gate before what a watch says is taken over.
pub(super) const VIEW: &str = "broker.before-view";
/// Gates at which an act begins: one that changes nothing would begin again for ever.
const BEGINS: [&str; 2] = ["broker.decided", "broker.before-sweep"];
/// Gates before the end of what nobody owns, or can use, any more.
const SWEEPS: [&str; 2] = ["broker.before-discard", "broker.before-sweep"];
/// By what the end of a list is known at [`VIEW`].
const LIST: &str = "list";

/// What a watch says, held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    id: u64,
    /// The version that the view has with it; empty when the object is gone.
    version: String,
}

/// Work for the Resource, held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Work {
    id: u64,
    gate: String,
    /// It was decided on as of this change, or later.
    as_of: u64,
}

/// One broker.
#[derive(Debug, Default)]
pub struct Broker {
    at: Option<Work>,
    news: Option<News>,
    /// The version of the object in its view, empty for none; none before its first list.
    viewed: Option<String>,
    /// As of which change the act was decided on that it began last.
    began: Option<u64>,
}

impl Broker {
    /// One that runs, and has a view from before or not.
    pub fn new(listed: bool) -> Self {
        Self { viewed: listed.then(String::new), ..Self::default() }
    }

    /// Whether it has listed what is in the cluster.
    pub fn is_listed(&self) -> bool {
        self.viewed.is_some()
    }

    /// Takes over who waits at its control plane's gates. `ours` are the names of the Resource, `version` that of its
    /// object, `as_of` the change that everybody knew of when the step was taken. What is held of other Resources is to be let go: returned.
    pub fn find(&mut self, waiting: &[Held], ours: &[String], version: &str, as_of: u64) -> Vec<u64> {
        let mine = |held: &&Held| ours.contains(&held.who);
        let at = waiting.iter().find(|held| mine(held) && is_work(&held.gate));
        self.at = match (at, self.at.take()) {
            (Some(held), Some(known)) if known.id == held.id => Some(known),
            (Some(held), _) => Some(Work { id: held.id, gate: held.gate.clone(), as_of }),
            (None, _) => None,
        };
        let news = waiting.iter().find(|held| held.gate == VIEW && (mine(held) || held.who == LIST));
        self.news = match (news, self.news.take()) {
            (Some(held), Some(known)) if known.id == held.id => Some(known),
            (Some(held), _) => {
                // A list has what is there when it comes: nothing changes until somebody takes a step.
                let version = if held.who == LIST { version } else { &held.request };
                Some(News { id: held.id, version: version.to_owned() })
            }
            (None, _) => None,
        };
        let others =
            |held: &&Held| !mine(held) && (is_work(&held.gate) || held.gate == VIEW && held.who != LIST);
        waiting.iter().filter(others).map(|held| held.id).collect()
    }

    /// Whether its work is held.
    pub fn is_held(&self) -> bool {
        self.at.is_some()
    }

    /// Whether it can go on, after so many changes. An act that was decided on when the last one was, and nothing has
    /// changed since, would do nothing again.
    pub fn can_go(&self, changes: u64) -> bool {
        self.at.as_ref().is_some_and(|work| !begins(&work.gate) || self.began != Some(changes))
    }

    /// Goes on: the place to let it go from, and whether what it is about to remove is nobody's.
    pub fn go(&mut self) -> Option<(u64, bool)> {
        let Work { id, gate, as_of } = self.at.take()?;
        if begins(&gate) {
            self.began = Some(as_of);
        }
        Some((id, SWEEPS.contains(&gate.as_str())))
    }

    /// Whether news of the cluster is held.
    pub fn has_news(&self) -> bool {
        self.news.is_some()
    }

    /// Its view takes over what is held: the place to let that go from.
    pub fn see(&mut self) -> Option<u64> {
        let news = self.news.take()?;
        self.viewed = Some(news.version);
        Some(news.id)
    }

    /// Whether something is to come to its view's gate: the object is another than in its view, and no news is there.
    pub fn expects_news(&self, version: &str) -> bool {
        self.news.is_none() && self.viewed.as_deref() != Some(version)
    }

    /// It was killed, and runs again.
    pub fn restarted(&mut self) {
        *self = Self::default();
    }
}

/// Whether work is among what waits: for the Resource, or for another one's, which is let go when everybody is looked at.
pub(super) fn is_at_work(waiting: &[Held]) -> bool {
    waiting.iter().any(|held| is_work(&held.gate))
}

fn is_work(gate: &str) -> bool {
    gate.starts_with("broker.") && gate != VIEW
}

fn begins(gate: &str) -> bool {
    BEGINS.contains(&gate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(id: u64, gate: &str, who: &str, request: &str) -> Held {
        let text = str::to_owned;
        Held { id, gate: text(gate), who: text(who), request: text(request) }
    }

    #[test]
    fn an_act_that_changed_nothing_is_not_begun_again_before_something_changes() {
        let ours = ["r".to_owned()];
        let mut broker = Broker::new(true);
        let waiting = [held(1, "broker.decided", "r", ""), held(2, "broker.before-move", "other", "")];
        assert_eq!(broker.find(&waiting, &ours, "", 5), [2], "other Resources' are let go");
        broker.find(&waiting[..1], &ours, "", 6);
        assert!(broker.can_go(6));
        assert_eq!(broker.go(), Some((1, false)));
        broker.find(&[held(3, "broker.before-move", "r", "")], &ours, "", 5);
        assert!(broker.can_go(5), "within an act it goes on");
        let again = [held(4, "broker.decided", "r", "")];
        broker.find(&again, &ours, "", 6);
        assert!(broker.can_go(6), "there is something that the first look did not see");
        assert_eq!(broker.go(), Some((4, false)));
        broker.find(&[held(5, "broker.decided", "r", "")], &ours, "", 6);
        assert!(broker.is_held() && !broker.can_go(6) && broker.can_go(7));
        broker.find(&[held(6, "broker.before-sweep", "r", "")], &ours, "", 7);
        assert_eq!(broker.go(), Some((6, true)));
    }

    #[test]
    fn a_view_is_behind_until_the_news_was_let_go() {
        let ours = ["p".to_owned()];
        let mut broker = Broker::new(false);
        assert!(broker.expects_news(""), "the first list");
        broker.find(&[held(1, VIEW, "list", "")], &ours, "7", 0);
        assert!(broker.has_news() && !broker.expects_news("7"));
        assert_eq!(broker.see(), Some(1));
        assert!(!broker.expects_news("7") && broker.expects_news("8"));
        broker.find(&[held(2, VIEW, "p", "8"), held(3, VIEW, "p", "")], &ours, "", 0);
        assert_eq!(broker.see(), Some(2));
        assert!(broker.expects_news(""), "the next of them comes to the gate");
        broker.restarted();
        assert!(!broker.is_listed());
    }
}
