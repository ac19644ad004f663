//! Where the published sources on plexsphere and plexd disagree, and what plexlab does there.
//!
//! Owns: the table. Each row names the test that holds plexlab's choice, or says that none does yet.

use serde::Serialize;

/// A disagreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Its number; numbers are never used again.
    pub number: u8,
    /// What it is about.
    pub topic: &'static str,
    /// What the sources say, oldest first.
    pub versions: &'static [Version],
    /// What plexlab does unless told otherwise.
    pub default: &'static str,
    /// What changes or holds that.
    pub pin: Pin,
}

/// One side of a disagreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Version {
    /// What it says.
    pub says: &'static str,
    /// Who says it.
    pub source: &'static str,
}

/// What changes or holds plexlab's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "by", content = "name", rename_all = "kebab-case")]
pub enum Pin {
    /// A test: its file, a colon and a space, its name.
    Test(&'static str),
    /// A switch, and the test of it.
    Switch {
        /// The switch.
        switch: &'static str,
        /// As above.
        test: &'static str,
    },
}

const fn says(source: &'static str, says: &'static str) -> Version {
    Version { says, source }
}

const fn drift(
    number: u8,
    topic: &'static str,
    versions: &'static [Version],
    default: &'static str,
    pin: Pin,
) -> Drift {
    Drift { number, topic, versions, default, pin }
}

use Pin::{Switch, Test};

/// All of them, by number.
#[rustfmt::skip]
pub const TABLE: &[Drift] = &[
    drift(1, "name of the handle in a registration",
        &[says("SDKs of June 2026, cloudless Job", "resource_id"), says("OpenAPI, agent documents", "resource_handle")],
        "takes both; resource_handle wins", Test("fixtures/control-plane/tests/it/registration.rs: every_dialect_registers_and_sees_the_peers_before_it")),
    drift(2, "body and answer of a registration",
        &[says("agent of February 2026", "token, hostname; node_secret_key, peers"), says("every later source", "bootstrap_token, nonce; nsk, peer_snapshot")],
        "takes both; answers with the names of both", Test("fixtures/control-plane/tests/it/registration.rs: every_dialect_registers_and_sees_the_peers_before_it")),
    drift(3, "id of a blueprint version",
        &[says("provisioning tutorial", "only in the database"), says("OpenAPI", "versions[].id")],
        "in both places", Test("fixtures/control-plane/tests/it/catalog.rs: the_seeds_are_read_by_the_operator_and_hidden_from_the_owner")),
    drift(4, "catalog after the first boot",
        &[says("provisioning tutorial", "a demo Cloud, credential and blueprint"), says("later tutorials", "empty")],
        "the demo catalog", Switch { switch: "control-plane --seed-catalog=false", test: "fixtures/control-plane/tests/it/catalog.rs: without_the_seed_the_catalog_is_empty" }),
    drift(5, "second segment of a bootstrap token",
        &[says("OpenAPI", "the Project's id"), says("API reference", "the token's id")],
        "the Project's id", Test("fixtures/control-plane/tests/it/tokens.rs: a_token_is_shown_once_and_kept_as_a_hash")),
    drift(6, "revoking a used or revoked token",
        &[says("how-to", "succeeds again"), says("OpenAPI, SDK of August 2026", "409")],
        "409", Test("fixtures/control-plane/tests/it/tokens.rs: a_token_is_revoked_once_and_a_used_one_never")),
    drift(7, "who decides on an assignment",
        &[says("OpenAPI", "the Project's managers"), says("SDK of August 2026, reference", "who may assign the credential")],
        "who may assign the credential", Test("fixtures/control-plane/tests/it/provisioning.rs: one_party_requests_the_other_approves_and_then_it_can_be_spent")),
    drift(8, "Location of an assignment request",
        &[says("OpenAPI", "none"), says("how-to", "the assignment's path")],
        "the assignment's path", Test("fixtures/control-plane/tests/it/provisioning.rs: one_party_requests_the_other_approves_and_then_it_can_be_spent")),
    drift(9, "families of plexctl",
        &[says("how-tos", "no cloud, assignment or resource family"), says("reference, tutorial", "all of them")],
        "all that the tutorials use", Test("fixtures/plexctl/tests/it/provisioning.rs: the_owners_project_and_request_and_the_operators_approval")),
    drift(10, "where assignments are decided",
        &[says("OpenAPI, tutorial", "endpoints of their own"), says("SDK of August 2026", "the queue of approvals")],
        "both", Test("fixtures/control-plane/tests/it/provisioning.rs: the_queue_of_approvals_decides_assignments_too")),
    drift(11, "spelling of a resource's origin",
        &[says("OpenAPI", "lower case"), says("tutorial's sample, SQL", "capitalised")],
        "lower case over HTTP, capitalised in SQL", Test("fixtures/control-plane/tests/it/tenancy.rs: resources_are_adopted_listed_and_removed_with_their_nodes")),
    drift(12, "where an adopted resource comes from",
        &[says("adoption how-to", "made by the registration"), says("OpenAPI", "must be there, else 404")],
        "made by the registration", Switch { switch: "control-plane --no-adopt-on-register", test: "fixtures/control-plane/tests/it/registration.rs: in_strict_mode_a_handle_must_be_known" }),
    drift(13, "names in an adopted cluster",
        &[says("adoption how-to", "plexsphere-system, plexd-bootstrap-token, a mounted file"), says("DaemonSet reference", "plexd-system, plexd-bootstrap, a variable")],
        "both: kind/charts/plexd and the scenarios in the how-to's names, kind/plexd in the reference's", Switch { switch: "kubectl apply -k kind/plexd, or the chart with its bootstrapTokenSecret and bootstrapTokenDelivery=env", test: "xtask/tests/it/agent_manifests.rs: the_plain_manifests_are_those_of_the_reference" }),
    drift(14, "external_ref of a provisioned resource",
        &[says("OpenAPI, tutorial", "absent; the token names the resource"), says("SDK of August 2026", "given by the platform")],
        "given by the platform; the token decides", Test("fixtures/control-plane/tests/it/provisioning.rs: only_its_own_token_leads_to_a_provisioned_resource")),
    drift(15, "a node's bearer",
        &[says("agent of February 2026, OpenAPI", "the bare secret"), says("agent documents", "an envelope nsk_<env>_…")],
        "the envelope always; the bare secret for older agents", Test("fixtures/control-plane/tests/it/nodes.rs: the_bare_text_of_a_key_is_the_legacy_dialects_bearer_only")),
    drift(16, "binary_checksum of a heartbeat",
        &[says("OpenAPI", "hex or base64"), says("SDK of August 2026", "base64")],
        "both", Test("fixtures/control-plane/src/http/nodes/heartbeat.rs: both_dialects_are_taken")),
    drift(17, "envelope of events",
        &[says("OpenAPI", "the one with a list of signed keys"), says("agent of February 2026, its documents", "the one with a signed payload")],
        "by the dialect of the registration", Test("fixtures/control-plane/tests/it/events.rs: each_dialect_gets_its_envelope_signed_by_the_domain")),
    drift(18, "whether events are served",
        &[says("OpenAPI", "501 in the first release"), says("SDK of August 2026", "served")],
        "served", Switch { switch: "control-plane --no-events", test: "fixtures/control-plane/tests/it/events.rs: without_the_stream_its_absence_is_said" }),
    drift(19, "who may read a node's events and state",
        &[says("OpenAPI", "operators"), says("SDK of August 2026", "the node, too")],
        "both", Test("fixtures/control-plane/tests/it/nodes.rs: a_node_signs_in_with_its_own_key_in_its_own_form")),
    drift(20, "executions and sessions in a node's state",
        &[says("OpenAPI", "absent"), says("SDK of August 2026", "present, empty lists")],
        "present", Test("fixtures/control-plane/tests/it/nodes.rs: two_pulls_without_a_change_are_the_same_bytes")),
    drift(21, "a node that never sent a heartbeat",
        &[says("OpenAPI", "unreachable"), says("SDK of August 2026", "never_reported")],
        "never_reported", Test("fixtures/control-plane/tests/it/nodes.rs: heartbeats_move_a_node_through_its_states")),
    drift(22, "a limit out of range",
        &[says("older SDKs, how-tos", "clamped"), says("OpenAPI", "400 invalid_limit")],
        "400", Test("fixtures/control-plane/tests/it/tokens.rs: a_list_comes_in_pages_whose_cursors_are_bound_to_it")),
    drift(23, "who may read and delete a resource",
        &[says("OpenAPI", "observe and deploy on the Project"), says("API reference", "observe and manage on the resource")],
        "either is enough", Test("fixtures/control-plane/src/authz/graph.rs: a_resource_is_its_projects_deployers_and_its_own_managers")),
    drift(24, "names of providers",
        &[says("OpenAPI, Clouds", "aws, azure"), says("OpenAPI, blueprints", "aws, gcp, hetzner, openstack")],
        "each list at its place", Test("fixtures/control-plane/tests/it/catalog.rs: blueprints_are_registered_and_their_versions_published")),
    drift(25, "code for an unknown provider",
        &[says("OpenAPI", "unknown_provider"), says("how-to", "invalid_cloud_region_defaults")],
        "unknown_provider", Test("fixtures/control-plane/tests/it/catalog.rs: clouds_are_made_changed_and_removed")),
    drift(26, "encoding of the signing key",
        &[says("agent of February 2026", "base64 of 32 bytes"), says("agent documents", "a sample that looks like SPKI")],
        "base64 of 32 bytes", Test("fixtures/control-plane/tests/it/events.rs: each_dialect_gets_its_envelope_signed_by_the_domain")),
    drift(27, "statuses of a registration",
        &[says("agent of February 2026", "422 is tried again"), says("OpenAPI, agent documents", "422 is final; 401 and 409 are not listed")],
        "never 409; 401 for an unknown token; 400 in place of 422 to older agents", Test("fixtures/control-plane/tests/it/registration.rs: each_refusal_leaves_the_token_spendable")),
    drift(28, "tables of mesh and outbox",
        &[says("context pages", "peer, psk, outbox_events"), says("how-to", "peers, peer_psks, outbox")],
        "those of the context pages", Test("fixtures/control-plane/tests/it/race.rs: many_tokens_at_once_give_many_nodes_with_an_address_each")),
    drift(29, "event of an approval",
        &[says("OpenAPI", "CredentialAssignmentApproved"), says("reference", "CredentialAssignmentMaterialised")],
        "CredentialAssignmentApproved", Test("fixtures/control-plane/tests/it/provisioning.rs: one_party_requests_the_other_approves_and_then_it_can_be_spent")),
    drift(30, "when a fresh grant counts",
        &[says("tutorial, OpenAPI", "a moment later"), says("context page", "at once")],
        "a moment later, for as long as the control plane is told", Switch { switch: "control-plane --authz-lag", test: "fixtures/control-plane/tests/it/authorization.rs: a_grant_arrives_when_the_mirrors_lag_has_passed" }),
    drift(31, "HTTP API of broker, fleet and blueprints",
        &[says("context pages", "none"), says("OpenAPI", "complete")],
        "as in the OpenAPI", Test("fixtures/control-plane/tests/it/operations.rs: every_published_operation_is_served_or_says_that_it_is_not")),
    drift(32, "scheme of PLEXSPHERE_URL",
        &[says("tutorials", "http"), says("how-tos", "https")],
        "http; plexctl takes both", Test("fixtures/plexctl/tests/it/tenancy.rs: a_base_url_may_have_a_path")),
    drift(33, "the agent's probes and configuration",
        &[says("agent of February 2026", "port 9100, api.baseurl"), says("agent documents", "port 9101, api.base_url")],
        "by the agent's generation", Test("fixtures/plexd/src/config_tests.rs: one_file_serves_both_generations")),
    drift(34, "a replay with the same nonce",
        &[says("how-to", "nonce_collision"), says("OpenAPI, agent documents", "token_consumed")],
        "nonce_collision for the same nonce, else token_consumed", Test("fixtures/control-plane/tests/it/registration.rs: a_lost_reply_is_recorded_and_its_repetition_is_a_collision")),
    drift(35, "code when the secret backend is away",
        &[says("SDK's readme", "secret_backend_unavailable"), says("OpenAPI", "openbao_unavailable")],
        "not served", Test("fixtures/control-plane/tests/it/operations.rs: every_published_operation_is_served_or_says_that_it_is_not")),
    drift(36, "too many integrity violations",
        &[says("OpenAPI, a schema", "400"), says("OpenAPI, a response", "413")],
        "not served", Test("fixtures/control-plane/tests/it/operations.rs: every_published_operation_is_served_or_says_that_it_is_not")),
    drift(37, "the broker's outbox events",
        &[says("context page", "deferred"), says("API reference", "ProvisionedResourceRequested, ProvisionedResourceDeleting")],
        "as the API reference says", Test("fixtures/control-plane/tests/it/provisioning.rs: one_party_requests_the_other_approves_and_then_it_can_be_spent")),
    drift(38, "code of a denied relation",
        &[says("plexctl's peer and mesh pages", "rebac_denied"), says("OpenAPI", "permission_denied")],
        "permission_denied; plexctl ends with 77 for either", Test("fixtures/plexctl/tests/it/errors.rs: permission_denied_is_exit_code_77")),
    drift(39, "a second rotation of a node's keys",
        &[says("OpenAPI", "no 409"), says("plexctl's key page", "409 already_pending")],
        "not served", Test("fixtures/control-plane/tests/it/operations.rs: every_published_operation_is_served_or_says_that_it_is_not")),
    drift(40, "public host names",
        &[says("agent of February 2026", "plexsphere.io"), says("later pages", "plexsphere.com")],
        "plexsphere.com in problem types; never asked", Test("fixtures/control-plane/src/problem.rs: a_document_has_the_contracts_members")),
    drift(41, "status of a successful registration",
        &[says("mock server's page", "200"), says("OpenAPI", "201")],
        "201", Test("fixtures/control-plane/tests/it/registration.rs: a_success_writes_everything_in_one_go")),
    drift(42, "Location of a new resource",
        &[says("SDK of August 2026", "a path of incidents"), says("OpenAPI, tutorial", "the resource's path")],
        "the resource's path", Test("fixtures/plexctl/tests/it/provisioning.rs: a_resource_is_created_and_its_place_goes_to_standard_error")),
    drift(43, "body of a refused self-approval",
        &[says("OpenAPI, a schema", "PermissionDenied, with a reason"), says("OpenAPI, the text beside it", "a plain Problem")],
        "a plain Problem", Test("fixtures/control-plane/tests/it/provisioning.rs: whoever_requests_may_not_approve_even_with_the_right_to")),
];
