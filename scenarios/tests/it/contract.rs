//! The check of exchanges against a description, with a small description of our own; and with the published one where
//! it is given.

use std::collections::BTreeMap;
use std::path::Path;

use plexlab_lab::{Bodies, Exchange};
use plexlab_scenarios::contract::check::{About, check};
use plexlab_scenarios::contract::coverage::{Claim, compare};
use plexlab_scenarios::contract::drift::{Pin, TABLE};
use plexlab_scenarios::contract::spec::{Spec, VARIABLE};
use serde_json::{Value, json};

const SPEC: &str = r##"
openapi: 3.1.0
info: {title: Parcels, version: "1"}
paths:
  /v1/parcels:
    post:
      operationId: SendParcel
      description: Refused with `parcel_too_heavy`.
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: "#/components/schemas/ParcelRequest"}}
      responses:
        "201":
          content:
            application/json: {schema: {$ref: "#/components/schemas/Parcel"}}
        "400":
          content:
            application/problem+json: {schema: {$ref: "#/components/schemas/Problem"}}
  /v1/parcels/{id}:
    get:
      operationId: GetParcel
      responses:
        "200":
          content:
            application/json: {schema: {$ref: "#/components/schemas/Parcel"}}
    delete:
      operationId: LoseParcel
      responses: {"204": {}}
  /v1/parcels/latest:
    get:
      operationId: GetLatestParcel
      responses: {"200": {}}
  /v1/nodes/{id}/state:
    get:
      operationId: GetNodeState
      responses:
        "200":
          content:
            application/json:
              schema: {type: object, properties: {policy: {type: object}, peers: {type: array}}}
  /v1/register:
    post:
      operationId: PostRegister
      description: Refused with `self_approval_denied` or `denied`.
      requestBody:
        content:
          application/json: {schema: {type: object, required: [resource_handle, nonce]}}
      responses:
        "201": {}
        "403":
          content:
            application/problem+json: {schema: {$ref: "#/components/schemas/Denied"}}
components:
  schemas:
    Denied:
      type: object
      required: [title, code, reason]
    ParcelRequest:
      type: object
      additionalProperties: false
      required: [grams]
      properties: {grams: {type: integer, minimum: 1}, token: {type: string, pattern: "^psb_"}}
    Parcel:
      type: object
      required: [id, sent_at]
      properties:
        id: {type: string, format: uuid}
        sent_at: {type: [string, "null"], format: date-time}
        token: {type: string, minLength: 10}
    Problem:
      type: object
      required: [title, code]
      properties: {title: {type: string}, code: {type: string}}
"##;
const ID: &str = "019ed553-0000-7000-8000-000000000001";

fn exchange(
    method: &str,
    path: &str,
    status: u16,
    request: Option<Value>,
    response: Option<Value>,
) -> Exchange {
    let media = if status < 400 { "application/json" } else { "application/problem+json" };
    let content_type = response.is_some().then(|| media.to_owned());
    Exchange {
        sequence: 1,
        at: "2026-06-17T14:30:00Z".parse().unwrap(),
        elapsed_us: 1,
        method: method.to_owned(),
        path: path.to_owned(),
        status: Some(status),
        notes: BTreeMap::new(),
        bodies: Some(Bodies { content_type, request, response }),
    }
}

/// What is found in one exchange.
fn found(exchange: Exchange) -> Vec<(About, String)> {
    let report = check(&Spec::parse(SPEC).unwrap(), &[exchange]).unwrap();
    report.findings.into_iter().map(|finding| (finding.about, finding.text)).collect()
}

fn abouts(exchange: Exchange) -> Vec<About> {
    found(exchange).into_iter().map(|(about, _)| about).collect()
}

fn parcel() -> Value {
    json!({"id": ID, "sent_at": "2026-06-17T14:30:00Z"})
}

#[test]
fn what_is_as_described_is_not_found_fault_with() {
    for exchange in [
        exchange("POST", "/v1/parcels", 201, Some(json!({"grams": 5})), Some(parcel())),
        exchange("GET", &format!("/v1/parcels/{ID}"), 200, None, Some(json!({"id": ID, "sent_at": null}))),
        exchange("DELETE", "/v1/parcels/x", 204, None, None),
        exchange(
            "POST",
            "/v1/parcels",
            400,
            Some(json!({"nonsense": 1})),
            Some(json!({"title": "T", "code": "parcel_too_heavy"})),
        ),
        // A literal path wins over one with parameters.
        exchange("GET", "/v1/parcels/latest", 200, None, Some(json!({"anything": 1}))),
    ] {
        assert_eq!(found(exchange.clone()), [], "{exchange:?}");
    }
}

#[test]
fn each_fault_is_found() {
    let cases = [
        (exchange("GET", "/v1/letters", 200, None, None), About::Operation),
        (exchange("PUT", "/v1/parcels", 200, None, None), About::Operation),
        (exchange("GET", "/v1/parcels/x", 418, None, None), About::Status),
        (exchange("GET", "/v1/parcels/x", 200, None, Some(json!({"id": ID}))), About::Response),
        (
            exchange("GET", "/v1/parcels/x", 200, None, Some(json!({"id": "x", "sent_at": null}))),
            About::Response,
        ),
        (exchange("POST", "/v1/parcels", 201, Some(json!({"grams": 0})), Some(parcel())), About::Request),
        (
            exchange("POST", "/v1/parcels", 201, Some(json!({"grams": 1, "more": 1})), Some(parcel())),
            About::Request,
        ),
        (
            exchange("POST", "/v1/parcels", 400, None, Some(json!({"title": "T", "code": "unheard_of"}))),
            About::Code,
        ),
    ];
    for (exchange, about) in cases {
        assert_eq!(abouts(exchange.clone()), [about], "{exchange:?}");
    }
    let mut html = exchange("GET", "/v1/parcels/x", 200, None, Some(parcel()));
    html.bodies.as_mut().unwrap().content_type = Some("text/html".into());
    assert_eq!(abouts(html), [About::ContentType]);
}

#[test]
fn what_does_not_exist_may_say_so() {
    assert_eq!(found(exchange("GET", "/v1/letters", 404, None, None)), []);
    assert_eq!(found(exchange("PUT", "/v1/parcels", 405, None, None)), []);
}

#[test]
fn what_is_masked_is_not_judged_and_values_do_not_show() {
    let masked = json!({"id": ID, "sent_at": null, "token": "***"});
    assert_eq!(
        found(exchange("POST", "/v1/parcels", 201, Some(json!({"grams": 1, "token": "***"})), Some(masked))),
        []
    );
    let told = found(exchange(
        "GET",
        "/v1/parcels/x",
        200,
        None,
        Some(json!({"id": "hunter2", "sent_at": "hunter3"})),
    ));
    assert_eq!(told.len(), 2);
    assert!(!format!("{told:?}").contains("hunter"), "{told:?}");
}

#[test]
fn what_is_outside_of_the_description_is_counted_and_left_out() {
    let mut unanswered = exchange("GET", "/v1/parcels/x", 200, None, None);
    unanswered.status = None;
    let all = [
        unanswered,
        exchange("GET", "/v1/ping", 200, None, None),
        exchange("POST", "/v1/nodes/x/drift", 200, None, None),
        exchange("GET", "/v1/device", 200, None, None),
        exchange("GET", "/healthz", 200, None, None),
        exchange("GET", "/v1/parcels/x", 501, None, None),
    ];
    let report = check(&Spec::parse(SPEC).unwrap(), &all).unwrap();
    assert_eq!((report.checked, report.left_out, report.findings.len()), (0, 6, 0));
}

#[test]
fn what_another_source_says_is_excused_and_counted() {
    let state = exchange("GET", "/v1/nodes/x/state", 200, None, Some(json!({"policy": null, "peers": null})));
    let report = check(&Spec::parse(SPEC).unwrap(), &[state]).unwrap();
    let told: Vec<&str> = report.findings.iter().map(|finding| finding.text.as_str()).collect();
    assert_eq!((report.excused, told), (1, vec![r#"/peers: value is not of type "array""#]));
}

#[test]
fn an_outage_may_be_said_anywhere_and_is_counted() {
    let told = |status| {
        let answer = exchange("GET", "/v1/nodes/x/state", status, None, Some(json!({})));
        let report = check(&Spec::parse(SPEC).unwrap(), &[answer]).unwrap();
        (report.excused, report.findings.len())
    };
    assert_eq!(told(503), (1, 0));
    assert_eq!(told(502), (0, 1));
}

#[test]
fn the_cloudless_jobs_registration_is_excused_and_no_other() {
    let told = |body| {
        let sent = exchange("POST", "/v1/register", 201, Some(body), None);
        let report = check(&Spec::parse(SPEC).unwrap(), &[sent]).unwrap();
        (report.excused, report.findings.len())
    };
    assert_eq!(told(json!({"resource_handle": "h", "nonce": "n"})), (0, 0));
    assert_eq!(told(json!({"resource_id": "cloudless-node", "nonce": "n"})), (1, 0));
    assert_eq!(told(json!({"resource_id": "cloudless-node"})), (1, 1));
}

#[test]
fn refusals_that_the_text_calls_plain_problems_are_judged_as_such() {
    let refusal = |body| abouts(exchange("POST", "/v1/register", 403, None, Some(body)));
    assert_eq!(refusal(json!({"title": "T", "code": "self_approval_denied"})), []);
    assert_eq!(refusal(json!({"code": "self_approval_denied"})), [About::Response]);
    assert_eq!(refusal(json!({"title": "T", "code": "denied"})), [About::Response]);
}

#[test]
fn coverage_names_each_operation_once() {
    let claim = |method, path, not_provisioned| Claim { method, path, not_provisioned };
    let claims = [
        claim("POST", "/v1/parcels", None),
        claim("GET", "/v1/parcels/{parcel_id}", Some("parcels_not_provisioned")),
        claim("GET", "/v1/parcels/latest", None),
        claim("GET", "/v1/ping", None),
    ];
    let coverage = compare(&Spec::parse(SPEC).unwrap(), &claims);
    assert_eq!(coverage.served, ["SendParcel", "GetLatestParcel"]);
    assert_eq!(coverage.not_served, [("GetParcel".to_owned(), "parcels_not_provisioned".to_owned())]);
    assert_eq!(coverage.unknown, ["LoseParcel", "GetNodeState", "PostRegister"]);
    assert_eq!(coverage.unpublished, ["GET /v1/ping"]);
}

#[test]
fn what_is_no_description_is_refused() {
    for text in ["", "openapi: 3.0.3", "[", "openapi: 3.1.0\npaths: {/v1/a: {get: {responses: {}}}}\n: x"] {
        assert!(Spec::parse(text).is_err(), "{text}");
    }
}

#[test]
fn every_row_of_the_table_is_whole_and_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let exists = |test: &str| {
        let (file, name) = test.split_once(": ").unwrap();
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("fn {name}(")), "{test}");
    };
    for (index, drift) in TABLE.iter().enumerate() {
        assert_eq!(usize::from(drift.number), index + 1);
        assert!(drift.versions.len() >= 2 && !drift.default.is_empty(), "{drift:?}");
        match drift.pin {
            Pin::Test(test) | Pin::Switch { test, .. } => exists(test),
        }
    }
}

/// All schemas of the published description can be used.
#[test]
fn the_published_description_is_understood() {
    let Some(spec) = Spec::given().unwrap() else {
        plexlab_lab::skip::skipped(
            "the_published_description_is_understood",
            &format!("{VARIABLE} is not set"),
        );
        return;
    };
    assert!(spec.operations().len() > 200, "{}", spec.operations().len());
    for operation in spec.operations() {
        let responses = operation.responses.values().flat_map(BTreeMap::values).flatten();
        for pointer in operation.request.iter().chain(responses) {
            spec.validator(pointer).unwrap_or_else(|error| panic!("{}: {error}", operation.id));
        }
    }
    assert!(spec.knows_code("duplicate_live_assignment") && !spec.knows_code("duplicate_live_parcel"));
}
