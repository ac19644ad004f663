use std::time::Duration;

use axum::Router;
use axum::extract::RawForm;
use axum::response::{Html, Redirect};
use axum::routing::get;
use plexlab_lab::{Running, bind_loopback, serve};
use plexlab_scenarios::tutorial::Verdict;

use crate::world::{World, bash};

fn failed(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Failed { reasons } => reasons.join("\n"),
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_document_is_played_block_by_block_and_stops_at_the_first_failure() {
    let Some(bash) = bash("a_document_is_played_block_by_block_and_stops_at_the_first_failure") else {
        return;
    };
    let world = World::new(bash);
    let text = "```bash\nX=one\n```\n\n```bash\necho \"$X\"\n```\n```text\none\n```\n\n```bash\necho two\n```\n```text\nthree\n```\n\n```bash\necho never\n```\n";
    let played = world.play(text, &world.options()).await;
    assert_eq!((played.passed(), played.failed(), played.skipped()), (2, 1, 1), "{}", played.summary());
    let reasons = failed(&played.blocks[2].verdict);
    assert!(reasons.contains("line 16: expected \"three\", found \"two\""), "{reasons}");
    assert_eq!(played.blocks[3].line, 20);
}

#[tokio::test]
async fn a_refused_block_is_run_again_where_the_document_says_so_only() {
    let Some(bash) = bash("a_refused_block_is_run_again_where_the_document_says_so_only") else { return };
    let world = World::new(bash);
    world.program(
        "plexctl",
        "n=$(cat \"$WORLD/n\" 2>/dev/null || echo 0); echo $((n + 1)) >\"$WORLD/n\"\n\
         if ((n % 3 < 2)); then echo 'Permission Denied: not yet' >&2; exit 1; fi; echo granted",
    );
    let block = "```bash\nR=$(plexctl x | cat)\necho \"$R\"\n```\n```text\ngranted\n```\n";
    let advice = "If the next command returns Permission Denied, wait a second and re-run it.\n\n";
    let played = world.play(&format!("{advice}{block}\n{block}"), &world.options()).await;
    assert_eq!(
        (played.blocks[0].tries, &played.blocks[0].verdict),
        (3, &Verdict::Passed),
        "{}",
        played.summary()
    );
    assert_eq!(played.blocks[1].tries, 1);
    assert!(failed(&played.blocks[1].verdict).contains("Permission Denied: not yet"));

    let mut options = world.options();
    options.retry_for = Duration::from_millis(100);
    world.program("plexctl", "echo 'Permission Denied: never' >&2; exit 1");
    let played = world.play(&format!("{advice}{block}"), &options).await;
    assert!(failed(&played.blocks[0].verdict).contains("still refused"), "{}", played.summary());
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let Some(bash) = bash("what_is_missing_is_said") else { return };
    let world = World::new(bash);
    let mut options = world.options();
    let text = "```bash\necho <project-uuid>\n```\n```text\np1\n```\n\n```bash\nexport PATH=/nowhere\n```\n\n```bash\njq .\n```\n";
    let played = world.play(text, &options).await;
    let Verdict::Skipped { reason } = &played.blocks[0].verdict else { panic!("{}", played.summary()) };
    assert!(reason.contains("--set project-uuid=VALUE"), "{reason}");
    options.answers.insert("project-uuid".into(), "p1".into());
    let played = world.play(text, &options).await;
    assert_eq!(played.blocks[0].verdict, Verdict::Passed, "{}", played.summary());
    let Verdict::Skipped { reason } = &played.blocks[2].verdict else { panic!("{}", played.summary()) };
    assert!(reason.contains("needs jq"), "{reason}");
}

#[tokio::test]
async fn a_block_that_hangs_ends_the_document() {
    let Some(bash) = bash("a_block_that_hangs_ends_the_document") else { return };
    let world = World::new(bash);
    let mut options = world.options();
    options.limit = Duration::from_millis(500);
    let played = world
        .play("```bash\necho begun\nwhile :; do sleep 1; done\n```\n\n```bash\ntrue\n```\n", &options)
        .await;
    let reasons = failed(&played.blocks[0].verdict);
    assert!(reasons.contains("was killed") && reasons.contains("begun"), "{reasons}");
    assert_eq!(played.skipped(), 1);
}

/// A page that approves after a sign-in with the right password, and leaves a file that says so.
async fn provider(world: &World) -> (Running, String) {
    let approved = world.path().join("approved");
    let sign_in = "<form method=post><input name=login><input name=password type=password><button>Sign in</button></form>";
    let router = Router::new()
        .route(
            "/v1/device",
            get(async move || Html(sign_in)).post(async move |RawForm(form): RawForm| {
                if form.as_ref() == b"login=admin%40example.com&password=password" {
                    Ok(Redirect::to("/approve"))
                } else {
                    Err(Html(format!("<p role=alert>Wrong password</p>{sign_in}")))
                }
            }),
        )
        .route(
            "/approve",
            get(async || Html("<form method=post><button name=approval value=deny>Deny</button><button name=approval value=approve>Allow</button></form>"))
                .post(async move |RawForm(form): RawForm| {
                    assert_eq!(form.as_ref(), b"approval=approve");
                    std::fs::write(&approved, "").unwrap();
                    Html("<h1>Done</h1>")
                }),
        );
    let listener = bind_loopback("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let running = serve(listener, None, router).unwrap();
    let url = format!("http://{}", running.address());
    (running, url)
}

#[tokio::test]
async fn a_sign_in_is_played_while_the_command_waits_for_it() {
    let Some(bash) = bash("a_sign_in_is_played_while_the_command_waits_for_it") else { return };
    let world = World::new(bash);
    let (_provider, url) = provider(&world).await;
    world.program(
        "plexctl",
        "echo \"Open $PLEXSPHERE_URL/v1/device?user_code=ABCD-EFGH\" >&2\n\
         until [[ -e $WORLD/approved ]]; do sleep 0.05; done; echo 'signed in'",
    );
    let mut options = world.options();
    options.replacements.insert("http://localhost:8080".into(), url);
    let text = |password: &str| {
        format!(
            "```bash\nexport PLEXSPHERE_URL=http://localhost:8080\n```\n\nThen complete sign-in in the browser as \
             `admin@example.com` with the password `{password}`:\n\n```bash\nplexctl login\n```\n```text\nsigned in\n```\n"
        )
    };
    let played = world.play(&text("password"), &options).await;
    assert_eq!(played.passed(), 2, "{}", played.summary());
    assert!(played.notes.iter().any(|note| note.contains("http://localhost:8080")), "{:?}", played.notes);
    std::fs::remove_file(world.path().join("approved")).unwrap();
    let played = world.play(&text("wrong"), &options).await;
    let reasons = failed(&played.blocks[1].verdict);
    assert!(
        reasons.contains("the sign-in of admin@example.com failed") && reasons.contains("Wrong password"),
        "{reasons}"
    );
}
