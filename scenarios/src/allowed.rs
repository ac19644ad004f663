//! The warnings and errors that a scenario may leave in the logs, each with the reason why it is right that it is
//! there. Anything else fails the scenario.

use plexlab_harness::observe::complaints::{Complaint, DRIVER};
use plexlab_harness::run::Failure;

/// Complaints that are shown when a scenario fails for them.
const SHOWN: usize = 5;

/// Whoever it is that complains.
const ANYBODY: &str = "*";

/// A complaint that is to be expected.
struct Allowed {
    /// The scenarios; empty means all.
    scenarios: &'static [&'static str],
    /// Who complains, or [`ANYBODY`].
    who: &'static str,
    /// A part of the line, or several in this order with `…` between them.
    text: &'static str,
    /// Why it is right.
    #[expect(dead_code, reason = "for the reader of this list")]
    why: &'static str,
}

const ALLOWED: &[Allowed] = &[
    Allowed {
        scenarios: &[],
        who: "plexsphere",
        text: "msg=\"insecure default active in dev mode\"",
        why: "the control plane says so in every development environment, which a stack is",
    },
    Allowed {
        scenarios: &[],
        who: "plexd",
        text: "msg=\"failed to delete token file\"",
        why: "the token comes from a Secret, whose mount is read-only; the agent says so and goes on",
    },
    Allowed {
        scenarios: &[
            "adopt-via-eso",
            "adopt-via-eso-expired-token",
            "adopt-via-eso-revoked-token",
            "adopt-via-eso-wrong-kind",
            "adopt-via-eso-wrong-project",
            "adopt-via-eso-lost-reply",
            "adopt-via-eso-outages",
        ],
        who: "plexd",
        text: "Error: plexd up: registration: ",
        why: "the scenario is about a refused registration, which ends the agent with an error",
    },
    Allowed {
        scenarios: &["adopt-via-eso-lost-reply"],
        who: "plexd",
        text: "msg=\"registration attempt failed, retrying\"…EOF",
        why: "the reply was lost, which is all that the agent sees of it; its first container says so, whose log is not \
              kept everywhere",
    },
    Allowed {
        scenarios: &[],
        who: ANYBODY,
        text: "ERROR…failed with error ",
        why: "the client of the API server calls every broken connection an error; whoever asked gets it too, waits \
              while the server starts or is overloaded, and says itself what it could not do in the end",
    },
    Allowed {
        scenarios: &["adopt-via-eso-outages"],
        who: ANYBODY,
        text: "watch interrupted",
        why: "the API server is restarted: watches break, and nobody is answered for a moment",
    },
    Allowed {
        scenarios: &["adopt-via-eso-outages"],
        who: ANYBODY,
        text: "eof in poll",
        why: "the API server is restarted: watches break, and nobody is answered for a moment",
    },
    Allowed {
        scenarios: &["adopt-via-eso-outages"],
        who: "external-secrets",
        text: "WARN failed to reconcile…ServiceError: client error (",
        why: "the API server is restarted while the operator still writes a status: its connection breaks, and it tries \
              again; what the API server refuses is not covered",
    },
    Allowed {
        scenarios: &["adopt-via-eso-outages"],
        who: "external-secrets",
        text: "WARN failed to write …ServiceError: client error (",
        why: "the same for an event, which is lost, and for the status of a store",
    },
    Allowed {
        scenarios: &["adopt-via-eso-outages"],
        who: "plexd",
        text: "msg=\"kubernetes: crd: start: retrying\"…connect: connection refused",
        why: "the agent comes up while the API server is away, says so and tries again",
    },
    Allowed {
        scenarios: &["adopt-via-eso-outages"],
        who: "plexd",
        text: "opening it again",
        why: "the API server is restarted: watches break, and the agent opens its own again",
    },
    Allowed {
        scenarios: &["node-life-outage"],
        who: "plexd",
        text: "msg=\"registration attempt failed, retrying\"",
        why: "the control plane is down when the agent starts",
    },
    Allowed {
        scenarios: &["node-life-outage", "node-life-clock-skew"],
        who: "plexd",
        text: "msg=\"agent: heartbeat: ",
        why: "heartbeats fail while the control plane is away, or the clocks disagree, and the agent says so",
    },
    Allowed {
        scenarios: &["node-life-outage", "node-life-stream-cut"],
        who: "plexd",
        text: "msg=\"transient error, backing off\"",
        why: "the event stream cannot be opened while the control plane is away",
    },
    Allowed {
        scenarios: &["node-life-outage"],
        who: "plexd",
        text: "msg=\"FetchState failed\"",
        why: "the state cannot be pulled while the control plane is away",
    },
    Allowed {
        scenarios: &["node-life-restart"],
        who: "plexd",
        text: "msg=\"agent: heartbeat: send failed\"…connection reset by peer",
        why: "fifty agents that start at once can take the machine from the control plane until it is not ready, and a \
              Service without a ready pod ends connections; what the control plane itself refuses is not covered",
    },
    Allowed {
        scenarios: &["node-life-restart"],
        who: "plexd",
        text: "msg=\"FetchState failed\"…connection reset by peer",
        why: "the same",
    },
    Allowed {
        scenarios: &["node-life-restart"],
        who: "plexd",
        text: "msg=\"transient error, backing off\"…connection reset by peer",
        why: "the same",
    },
    Allowed {
        scenarios: &["node-life-restart"],
        who: "plexd",
        text: "msg=\"registration attempt failed, retrying\"…connection reset by peer",
        why: "the same",
    },
    Allowed {
        scenarios: &["node-life-restart"],
        who: "plexd",
        text: "api: HTTP 503: …datastore_unavailable",
        why: "they can take it from the database, too, for longer than the control plane waits: it says so, and the agent \
              tries again",
    },
    Allowed {
        scenarios: &["node-life-key-revoked", "node-life-deregistered"],
        who: "plexd",
        text: "msg=\"agent: heartbeat: unauthorized\"",
        why: "the scenario is about a Node that is refused",
    },
    Allowed {
        scenarios: &["node-life-key-revoked", "node-life-deregistered"],
        who: "plexd",
        text: "msg=\"heartbeat auth failure, attempting re-registration\"",
        why: "the same",
    },
    Allowed {
        scenarios: &["node-life-key-revoked", "node-life-deregistered"],
        who: "plexd",
        text: "msg=\"FetchState failed\"…node_id_mismatch",
        why: "a fresh token may reach the running agent before its pod is made anew: it registers with it, and goes on \
              asking for the former Node with the new key until it ends",
    },
    Allowed {
        scenarios: &["node-life-key-revoked", "node-life-deregistered"],
        who: "plexd",
        text: "msg=\"agent: heartbeat: send failed\"…node_id_mismatch",
        why: "the same",
    },
    Allowed {
        scenarios: &["node-life-deregistered"],
        who: "plexd",
        text: "msg=\"re-registration failed\"",
        why: "the identity was taken away under the agent, and its token is spent",
    },
    Allowed {
        scenarios: &["node-life-key-revoked"],
        who: "plexd",
        text: "msg=\"re-registration failed\"…token_consumed",
        why: "a fresh identity begins with the old one's files taken away; until its pod is made anew, which takes a \
              container longer than a process, the agent has no identity and a spent token",
    },
    Allowed {
        scenarios: &["node-life-clock-skew", "node-life-tampered-event"],
        who: "plexd",
        text: "msg=\"event verification failed\"",
        why: "the scenario is about an event that must not be believed",
    },
    Allowed {
        scenarios: &["failed-substrate"],
        who: "plexsphere",
        text: "WARN a Resource failed ",
        why: "the scenario is about Resources that fail, and the broker says why",
    },
    Allowed {
        scenarios: &["phase-ordering"],
        who: "plexsphere",
        text: "WARN Connection error: ",
        why: "the scenario breaks the connections to the database on purpose",
    },
    Allowed {
        scenarios: &["phase-ordering"],
        who: "plexsphere",
        text: "WARN Connection could not be recycled: ",
        why: "the pool finds the connections that the scenario broke",
    },
    Allowed {
        scenarios: &[],
        who: DRIVER,
        text: "Service is not forwarded: Permission denied (os error 13)",
        why: "an ordinary user may not listen at port 443, which only the Service `kubernetes` has; pods are given the \
              API server's own address",
    },
];

impl Allowed {
    fn covers(&self, scenario: &str, complaint: &Complaint) -> bool {
        (self.scenarios.is_empty() || self.scenarios.contains(&scenario))
            && (self.who == ANYBODY || complaint.who == self.who)
            && holds(&complaint.line, self.text)
    }
}

/// Whether the line has all parts of the text, one after the other.
fn holds(line: &str, text: &str) -> bool {
    let mut rest = Some(line);
    for part in text.split('…') {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, after)| after);
    }
    rest.is_some()
}

/// Whether all complaints of a scenario are to be expected.
///
/// # Errors
/// A failure that shows those that are not.
pub fn judge(scenario: &str, complaints: &[Complaint]) -> Result<(), Failure> {
    let unexpected: Vec<&Complaint> = complaints
        .iter()
        .filter(|complaint| !ALLOWED.iter().any(|allowed| allowed.covers(scenario, complaint)))
        .collect();
    if unexpected.is_empty() {
        return Ok(());
    }
    let mut seen: Vec<String> = unexpected.iter().take(SHOWN).map(ToString::to_string).collect();
    if unexpected.len() > SHOWN {
        seen.push(format!("and {} more", unexpected.len() - SHOWN));
    }
    let failure = Failure::expected("no warning and no error in the logs", seen.join("; "));
    Err(Failure { step: "read the logs".into(), ..failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(who: &str, line: &str) -> Complaint {
        Complaint { who: who.into(), line: line.into() }
    }

    #[test]
    fn a_planted_warning_fails_and_an_expected_refusal_does_not() {
        let refusal =
            complaint("plexd", "Error: plexd up: registration: registration: register: api: HTTP 403: {…}");
        assert_eq!(judge("adopt-via-eso", std::slice::from_ref(&refusal)), Ok(()));
        let planted = complaint("vault", "2026-01-01T00:00:00Z  WARN planted");
        let failure = judge("adopt-via-eso", &[refusal.clone(), planted]).unwrap_err();
        assert_eq!(failure.seen, "vault: 2026-01-01T00:00:00Z  WARN planted");
        let elsewhere = judge("adopt-via-eso-missing-key", &[refusal]);
        assert!(elsewhere.is_err(), "an allowance is for its scenarios only");
    }

    #[test]
    fn allowances_are_for_scenarios_that_exist() {
        let named = ALLOWED.iter().flat_map(|allowed| allowed.scenarios);
        let unknown: Vec<_> = named.filter(|name| crate::registry::find(name).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn a_heartbeat_that_is_refused_is_no_connection_that_is_reset() {
        let beat = |error: &str| {
            let line = format!("level=ERROR msg=\"agent: heartbeat: send failed\" error=\"{error}\"");
            judge("node-life-restart", &[complaint("plexd", &line)])
        };
        assert_eq!(beat("Post \\\"http://x/heartbeat\\\": read: connection reset by peer"), Ok(()));
        assert!(beat("api: HTTP 503: {}").is_err());
        assert_eq!(beat("api: HTTP 503: {\\\"code\\\":\\\"datastore_unavailable\\\"}"), Ok(()));
        assert!(!holds("b then a", "a…b") && holds("a then b", "a…b"));
    }

    #[test]
    fn a_connection_that_broke_is_for_the_caller_to_tell_and_an_answer_of_500_is_not() {
        let client = |outcome: &str| {
            complaint("driver", &format!("ERROR kube_client::client::builder: failed with {outcome}"))
        };
        assert!(judge("provision-many", &[client("error client error (SendRequest)")]).is_ok());
        assert!(judge("provision-many", &[client("status 500 Internal Server Error")]).is_err());
    }

    #[test]
    fn an_operator_may_lose_its_connection_where_the_api_server_is_restarted_and_nowhere_else() {
        let said = |error: &str| {
            let line = format!("WARN failed to reconcile external_secret=plexsphere-system/x error={error}");
            complaint("external-secrets", &line)
        };
        let event =
            "WARN failed to write an event error=ServiceError: client error (SendRequest) reason=\"Updated\"";
        assert_eq!(judge("adopt-via-eso-outages", &[complaint("external-secrets", event)]), Ok(()));
        let broken = said("ServiceError: client error (Connect)");
        assert_eq!(judge("adopt-via-eso-outages", std::slice::from_ref(&broken)), Ok(()));
        assert!(judge("adopt-via-eso-outages", &[said("ApiError: secrets is forbidden")]).is_err());
        assert!(judge("adopt-via-eso", &[broken]).is_err());
    }

    #[test]
    fn an_agent_without_its_files_may_say_that_its_token_is_spent_and_nothing_else() {
        let said =
            |code: &str| complaint("plexd", &format!("level=ERROR msg=\"re-registration failed\" {code}"));
        assert!(judge("node-life-key-revoked", &[said("code=token_consumed")]).is_ok());
        assert!(judge("node-life-key-revoked", &[said("code=token_unknown")]).is_err());
        assert!(judge("node-life-restart", &[said("code=token_consumed")]).is_err());
    }

    #[test]
    fn many_complaints_are_counted() {
        let many: Vec<_> = (0..9).map(|n| complaint("driver", &format!("WARN {n}"))).collect();
        assert!(judge("x", &many).unwrap_err().seen.ends_with("WARN 4; and 4 more"));
    }
}
