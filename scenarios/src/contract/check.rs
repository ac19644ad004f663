//! One exchange against the description: is the operation published, the status documented, the body as described,
//! the problem's code known?

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use plexlab_lab::Exchange;
use plexlab_lab::bodies::MASK;
use plexlab_lab::faults::INJECTED;
use serde::Serialize;
use serde_json::Value;

use super::spec::{Operation, Spec, SpecError};

/// What does not fit the description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Position of the exchange in its record.
    pub sequence: u64,
    /// Method and path.
    pub request: String,
    /// The operation's id; empty when there is none.
    pub operation: String,
    /// Status of the answer.
    pub status: u16,
    /// What it is about.
    pub about: About,
    /// What is wrong, without values of the bodies.
    pub text: String,
}

/// The part of an exchange that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// Method and path are not published.
    Operation,
    /// The status is not documented for the operation.
    Status,
    /// The answer's media type is not documented for the status.
    ContentType,
    /// The answer's body is not as described.
    Response,
    /// The request's body is not as described, and yet it succeeded.
    Request,
    /// The problem's code occurs nowhere in the description.
    Code,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, request, status, text, .. } = self;
        write!(f, "#{sequence} {request} → {status}: {text}")
    }
}

/// What the checks found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Exchanges that were checked.
    pub checked: usize,
    /// Of these, exchanges whose bodies were there to be checked.
    pub with_bodies: usize,
    /// Exchanges left out: outside of the API, unanswered, answered by an injected fault, or as not served.
    pub left_out: usize,
    /// Findings where plexlab follows another source than the description, on purpose.
    pub excused: usize,
    /// What does not fit.
    pub findings: Vec<Finding>,
}

/// Blocks of a node's state that are null while they are unset, as agents have it; their schema says object.
const NULL_BLOCKS: &[&str] = &["/policy: ", "/bridge: ", "/state: ", "/reports: "];
/// What a node that was never heard of is measured against; newer sources call it `never_reported` (drift C21).
const KNOWN_STATES: &str = r#"value is not one of "healthy", "stale" or "unreachable""#;

/// Registration, which older agents and the cloudless Job do with other names (drift C1 and C2).
const REGISTER: &str = "PostRegister";
const OLDER_REGISTRATIONS: &[&str] = &[r#"the whole body: "resource_handle" is a required property"#];
/// Refusals with 403 that the text describes as plain problems, while the schema of the status is that of a missing
/// relation (drift C43).
const PLAIN_PROBLEMS: &[&str] = &["self_approval_denied", "cursor_binding_mismatch"];
const PLAIN_PROBLEM: &str = "/components/schemas/Problem";

/// While what is behind the API is down, any operation says so (contract: control plane, 0.2 "Global outage"), whether
/// or not the description lists it there.
const OUTAGE: &str = "status 503 is not among ";

fn is_excused(finding: &Finding) -> bool {
    if finding.about == About::Status && finding.text.starts_with(OUTAGE) {
        return true;
    }
    let is_null_block = finding.operation == "GetNodeState"
        && finding.text.ends_with(r#"is not of type "object""#)
        && NULL_BLOCKS.iter().any(|block| finding.text.starts_with(block));
    let is_response = finding.about == About::Response;
    let is_request = finding.about == About::Request;
    is_response && (is_null_block || finding.text.ends_with(KNOWN_STATES))
        || is_request && finding.operation == REGISTER && OLDER_REGISTRATIONS.contains(&finding.text.as_str())
}

/// Routes that older agents call; the description of July 2026 does not have them.
const OLDER_ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/ping"),
    ("POST", "/v1/nodes/{id}/drift"),
    ("POST", "/v1/nodes/{id}/report"),
    ("POST", "/v1/nodes/{id}/deregister"),
];
/// Pages for a browser, which the description does not have either.
const PAGES: &[&str] = &["/v1/device"];
/// Codes that no source publishes, and which had to be chosen.
const CHOSEN_CODES: &[&str] = &[
    "invalid_bootstrap_token",
    "bootstrap_token_not_found",
    "bootstrap_token_terminal",
    // of the description of August 2026
    "invalid_resource",
    "invariant_violation",
    "bootstrap_token_invalid",
    "node_deregistered",
];

/// Checks exchanges in their order.
///
/// # Errors
/// [`SpecError`] when a schema of the description cannot be used.
pub fn check(spec: &Spec, exchanges: &[Exchange]) -> Result<Report, SpecError> {
    let mut report = Report::default();
    for exchange in exchanges {
        match exchange.status {
            Some(status) if !is_left_out(exchange, status) => {
                report.checked += 1;
                report.with_bodies += usize::from(exchange.bodies.is_some());
                let (excused, findings): (Vec<_>, Vec<_>) =
                    findings(spec, exchange, status)?.into_iter().partition(is_excused);
                report.excused += excused.len();
                report.findings.extend(findings);
            }
            Some(_) | None => report.left_out += 1,
        }
    }
    Ok(report)
}

fn is_left_out(exchange: &Exchange, status: u16) -> bool {
    let path = exchange.path.as_str();
    let is_older = OLDER_ROUTES.iter().any(|(method, template)| {
        let (head, tail) = template.split_once("{id}").unwrap_or((template, ""));
        let middle = path.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
        *method == exchange.method && middle.is_some_and(|id| !id.contains('/'))
    });
    let is_injected = exchange.notes.contains_key(INJECTED);
    !path.starts_with("/v1/") || PAGES.contains(&path) || is_older || is_injected || status == 501
}

fn findings(spec: &Spec, exchange: &Exchange, status: u16) -> Result<Vec<Finding>, SpecError> {
    let mut found = Vec::new();
    let finding = |operation: &str, about, text: String| Finding {
        sequence: exchange.sequence,
        request: format!("{} {}", exchange.method, exchange.path),
        operation: operation.to_owned(),
        status,
        about,
        text,
    };
    let Some(operation) = spec.operation(&exchange.method, &exchange.path) else {
        // Whoever asks for what does not exist is answered just that.
        let refused = if spec.knows_path(&exchange.path) { status == 405 } else { status == 404 };
        let text = "the description has no such operation".to_owned();
        return Ok(if refused { found } else { vec![finding("", About::Operation, text)] });
    };
    let finding = |about, text| finding(&operation.id, about, text);
    let bodies = exchange.bodies.as_ref();
    let response = bodies.and_then(|bodies| bodies.response.as_ref());
    match documented(operation, status) {
        None => {
            let known: Vec<&str> = operation.responses.keys().map(String::as_str).collect();
            found.push(finding(About::Status, format!("status {status} is not among {}", known.join(", "))));
        }
        Some(content) => {
            let media = bodies.and_then(|bodies| bodies.content_type.as_deref());
            match media {
                Some(media) if !content.is_empty() && !content.contains_key(media) => {
                    let known: Vec<&str> = content.keys().map(String::as_str).collect();
                    let text = format!("media type {media} is not among {}", known.join(", "));
                    found.push(finding(About::ContentType, text));
                }
                Some(media) => {
                    if let (Some(Some(pointer)), Some(body)) = (content.get(media), response) {
                        let code = body["code"].as_str().unwrap_or_default();
                        let plain = status == 403 && PLAIN_PROBLEMS.contains(&code);
                        let pointer = if plain { PLAIN_PROBLEM } else { pointer };
                        let errors = errors(spec, pointer, body)?;
                        found.extend(errors.into_iter().map(|text| finding(About::Response, text)));
                    }
                }
                None => {}
            }
        }
    }
    if status >= 400 {
        let code = response.and_then(|body| body["code"].as_str());
        let code = code.or_else(|| exchange.notes.get("code").map(String::as_str));
        if let Some(code) = code.filter(|code| !spec.knows_code(code) && !CHOSEN_CODES.contains(code)) {
            found.push(finding(About::Code, format!("the description does not speak of the code {code}")));
        }
    } else if let (Some(pointer), Some(body)) =
        (&operation.request, bodies.and_then(|bodies| bodies.request.as_ref()))
    {
        let errors = errors(spec, pointer, body)?;
        found.extend(errors.into_iter().map(|text| finding(About::Request, text)));
    }
    Ok(found)
}

fn documented(
    operation: &Operation,
    status: u16,
) -> Option<&std::collections::BTreeMap<String, Option<String>>> {
    let exact = status.to_string();
    let class = format!("{}XX", status / 100);
    [exact.as_str(), &class, "default"].into_iter().find_map(|key| operation.responses.get(key))
}

/// What does not fit, by place and rule: values do not show. What is masked is not judged.
fn errors(spec: &Spec, pointer: &str, body: &Value) -> Result<Vec<String>, SpecError> {
    let validator = spec.validator(pointer)?;
    let judged = validator.iter_errors(body).filter(|error| match error.kind() {
        // A choice between schemas may have failed because of a mask anywhere below.
        ValidationErrorKind::AnyOf { .. }
        | ValidationErrorKind::OneOfNotValid { .. }
        | ValidationErrorKind::OneOfMultipleValid { .. } => !holds_mask(error.instance()),
        // Missing and unknown members are told by their names, which are not masked.
        _ => error.instance().as_str() != Some(MASK),
    });
    let told = judged.map(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the whole body".to_owned() } else { place };
        format!("{place}: {}", error.masked())
    });
    Ok(told.collect())
}

/// Whether something in a value is masked.
fn holds_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text == MASK,
        Value::Array(items) => items.iter().any(holds_mask),
        Value::Object(fields) => fields.values().any(holds_mask),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
