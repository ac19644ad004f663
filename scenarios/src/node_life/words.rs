//! The agent's own words, as every generation of it logs them.

/// Whether the line says that the event with this id was taken: it leads to a pull of the state, or there is no use for
/// its type. Only at level DEBUG.
pub fn takes(line: &str, id: &str) -> bool {
    let line = format!("{line} ");
    let names_it = line.contains(&format!(" id={id} ")) || line.contains(&format!(" event_id={id} "));
    line.contains("level=DEBUG") && names_it
}

/// Whether the line says that an event was not what its signature vouches for.
pub fn refuses_signature(line: &str) -> bool {
    line.contains("signature verification failed")
}

/// Whether the line says that a new signing key was taken from an event.
pub fn takes_key(line: &str) -> bool {
    line.contains("signing keys rotated via SSE")
}

/// An event was not believed.
pub const REFUSES: &str = "event verification failed";
/// A state was pulled, and taken in.
pub const PULLED: &str = "reconciliation cycle completed";
/// A registration failed and is tried again.
pub const TRIES_AGAIN: &str = "registration attempt failed, retrying";
/// A heartbeat had no answer, or a refusal.
pub const BEAT_FAILED: &str = "agent: heartbeat: send failed";
/// A heartbeat was refused with 401.
pub const UNAUTHORISED: &str = "agent: heartbeat: unauthorized";
/// What comes of it: the identity on disk is loaded again.
pub const RELOADED: &str = "re-registration successful";
/// What comes of it when there is none, and no token that would make one.
pub const NOT_RELOADED: &str = "re-registration failed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_by_its_whole_id() {
        let line = "time=T level=DEBUG msg=\"event received, reconciling\" type=policy_updated id=12";
        assert!(takes(line, "12") && !takes(line, "1") && !takes(line, "2"));
        assert!(takes("level=DEBUG msg=\"no handler registered\" event_type=x event_id=7 a=b", "7"));
        assert!(!takes("level=ERROR msg=\"event verification failed\" id=12", "12"));
    }
}
