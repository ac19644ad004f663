//! The workspace's own tutorials, with made-up programs that answer as a stack would.

use std::collections::BTreeMap;
use std::path::Path;

use plexlab_scenarios::tutorial::Document;

use crate::world::{World, bash, on_path};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tutorials").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// `plexctl` as far as the tutorials go: the second try after a grant works, and phases go on with each look.
const PLEXCTL: &str = r#"
next() { local n; n=$(cat "$WORLD/$1" 2>/dev/null || echo 0); echo $((n + 1)) >"$WORLD/$1"; echo "$n"; }
id() { printf '01a00000-0000-7000-8000-00000000000%s' "$1"; }
refused() { echo "Permission Denied: $1" >&2; exit 1; }
case "$*" in
  login*) [[ $* == *--domain-id\ d1\ --idp-binding-id\ b1* ]] ;;
  "cloud get"*) echo '{"id":"x","slug":"demo-cloud","display_name":"Demo Cloud","provider":"aws"}' ;;
  "cloud credential list"*) echo "{\"items\":[{\"id\":\"$(id 1)\",\"display_name\":\"demo-credential\"}]}" ;;
  "blueprint get"*) echo '{"slug":"kubernetes-cloudless-node","versions":[{"version":"v1alpha1","parameter_schema":[]}]}' ;;
  "project create"*) echo "{\"id\":\"$(id 2)\"}" ;;
  "credential assignment request"*)
    [[ $(next request) == 0 ]] && refused "not yet"
    echo "{\"id\":\"$(id 3)\"}" ;;
  "credential assignment list"*) echo "{\"items\":[{\"id\":\"$(id 3)\",\"state\":\"requested\",\"cloud_credential_id\":\"$(id 1)\"}]}" ;;
  "credential assignment approve $(id 3)"*) echo '{"state":"approved","materialised":true}' ;;
  "resource create"*)
    [[ $(next create) == 0 ]] && refused "project not authorised to use the named credential"
    echo "{\"id\":\"$(id 4)\"}" ;;
  "resource get $(id 4)"*)
    phases=(Pending Pending Provisioning Enrolling Ready Deregistering Deleted)
    echo "{\"kind\":\"node\",\"origin\":\"provisioned\",\"provisioning\":{\"phase\":\"${phases[$(next look)]}\"}}" ;;
  "resource delete $(id 4) --yes") ;;
  "bootstrap-token issue"*)
    [[ $(next issue) == 0 ]] && refused "not yet"
    echo '{"token":"psb_prod_abc_node_secret"}' ;;
  *) echo "unknown: $*" >&2; exit 2 ;;
esac
"#;

fn stack(bash: std::path::PathBuf) -> World {
    let world = World::new(bash);
    world.program("plexctl", PLEXCTL);
    world.program("make", "echo 'export DOMAIN_ID=d1 BINDING_ID=b1'");
    world.program(
        "vault",
        "[[ $* == 'kv put secret/plexsphere/prod/bootstrap-token token=psb_prod_abc_node_secret' ]]",
    );
    world.program("curl", r#"[[ $(cat) == '{"data":{"token":"psb_prod_abc_node_secret"}}' ]]"#);
    world.program("psql", "echo '01a00000-0000-7000-8000-000000000009|node|Adopted'");
    world.program(
        "kubectl",
        r#"case "$*" in
             "apply -f -") grep -q 'kind: ExternalSecret' ;;
             *wait*) echo 'externalsecret.external-secrets.io/plexd-bootstrap-token condition met' ;;
             *jsonpath*) printf True ;;
             *"logs daemonset/plexd -f"*) echo 'msg=registered'; exec sleep 600 ;;
             "exec statefulset/postgres"*) echo 01a00000-0000-7000-8000-000000000005 ;;
             *) exit 2 ;;
           esac"#,
    );
    world
}

#[tokio::test]
async fn the_tutorials_run_as_they_are_written() {
    let test = "the_tutorials_run_as_they_are_written";
    let Some(bash) = bash(test) else { return };
    if on_path("jq").is_none() {
        plexlab_lab::skip::skipped(test, "there is no jq on the PATH");
        return;
    }
    for (name, blocks) in [("provision-a-cloud-resource.md", 17), ("adopt-a-cluster-via-eso.md", 10)] {
        let world = stack(bash.clone());
        let played = world.play(&document(name), &world.options()).await;
        assert_eq!((played.passed(), played.blocks.len()), (blocks, blocks), "{name}\n{}", played.summary());
        let tries: Vec<u32> =
            played.blocks.iter().map(|block| block.tries).filter(|tries| *tries > 1).collect();
        assert!(!tries.is_empty() && tries.iter().all(|tries| *tries == 2), "{}", played.summary());
        assert!(!played.summary().contains("psb_prod"), "{}", played.summary());
    }
}

#[test]
fn the_tutorials_say_who_signs_in_and_what_comes_out() {
    for (name, expected) in [
        ("provision-a-cloud-resource.md", (17, vec!["operator@example.com", "admin@example.com"], 2, 12)),
        ("adopt-a-cluster-via-eso.md", (10, vec!["admin@example.com"], 1, 3)),
    ] {
        let blocks = Document::read(&document(name)).blocks;
        let people: Vec<_> =
            blocks.iter().filter_map(|block| block.sign_in.as_ref().map(|who| who.login.as_str())).collect();
        let retried = blocks.iter().filter(|block| block.is_retried).count();
        let shown = blocks.iter().filter(|block| block.expected.is_some()).count();
        assert_eq!((blocks.len(), people, retried, shown), expected, "{name}");
    }
}

/// The same text as a saved web page, its fences gone, gives the same blocks.
#[test]
fn a_saved_page_has_the_same_blocks_as_the_document_behind_it() {
    for name in ["provision-a-cloud-resource.md", "adopt-a-cluster-via-eso.md"] {
        let text = document(name);
        let mut page = String::new();
        let mut in_block = false;
        for line in text.lines() {
            match line.strip_prefix("```") {
                Some(language) if !in_block => {
                    in_block = true;
                    page.push_str(language);
                }
                Some(_) => {
                    in_block = false;
                    continue;
                }
                None if in_block => page.push_str(line),
                None => page.push_str(&line.replace(['`', '#'], "").trim_start().replace("| ", "")),
            }
            page.push('\n');
        }
        assert!(!page.contains("```"));
        let facts = |text: &str| -> Vec<_> {
            let blocks = Document::read(text).blocks.into_iter();
            let fact = |block: plexlab_scenarios::tutorial::document::Block| {
                (
                    block.code,
                    block.expected.map(|shown| shown.text),
                    block.sign_in.map(|who| who.login),
                    block.is_retried,
                )
            };
            blocks.map(fact).collect()
        };
        assert_eq!(facts(&page), facts(&text), "{name}");
    }
}

/// A page with prompts: the token of the first step answers the second, the rest is asked for.
#[tokio::test]
async fn prompts_of_a_page_are_answered_from_outside_and_from_what_was_printed() {
    let Some(bash) = bash("prompts_of_a_page_are_answered_from_outside_and_from_what_was_printed") else {
        return;
    };
    let world = stack(bash);
    world.program("plexctl", "[[ $* == *'--project p1'* ]] && echo 'token: psb_prod_abc_node_secret'");
    let page = "Steps\n\nshell\nplexctl bootstrap-token issue \\\n  --project <project-uuid> \\\n  --kind node\n\n\
                Put it away:\n\nshell\n# Vault\nvault kv put secret/plexsphere/<env-prefix>/bootstrap-token \\\n  token='<plaintext-from-step-1>'\n\n# Google\ngcloud secrets create <env-prefix>\n\nDone.\n";
    let mut options = world.options();
    options.answers =
        BTreeMap::from([("project-uuid".into(), "p1".into()), ("env-prefix".into(), "prod".into())]);
    // Only the made-up programs: a machine may have any of the stores' own.
    let programs = world.path().join("bin").display().to_string();
    options.settings.environment.insert("PATH".into(), programs);
    let played = world.play(page, &options).await;
    assert_eq!(played.passed(), 2, "{}", played.summary());
    assert!(played.notes.iter().any(|note| note.contains("they need gcloud")), "{:?}", played.notes);
}
