//! Requests under way, and those who wait for their answers.

use plexlab_race::history::Op;
use serde_json::Value;
use tokio::task::JoinHandle;

/// What comes back to a caller.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Inbox {
    /// Its status and its body.
    Answer(u16, Value),
    /// The connection broke.
    Broken,
}

/// How far a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    Waits(Op),
    Done,
}

/// One request at the control plane.
#[derive(Debug)]
pub(super) struct Flight {
    /// The call that waits for its answer; none when its caller is gone.
    pub(super) op: Option<Op>,
    /// Where it is held.
    pub(super) held: Option<u64>,
    /// It has come to the last gate.
    pub(super) committed: bool,
    pub(super) answered: bool,
    /// It was answered before its commit, and goes on by itself: some are wrong in this way.
    pub(super) goes_on: bool,
    pub(super) task: JoinHandle<()>,
}

impl Flight {
    pub(super) fn new(op: Option<Op>, task: JoinHandle<()>) -> Self {
        Self { op, held: None, committed: false, answered: false, goes_on: false, task }
    }

    pub(super) fn is_over(&self) -> bool {
        self.held.is_none() && self.answered && !self.goes_on
    }
}
