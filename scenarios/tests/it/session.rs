use std::path::Path;
use std::time::{Duration, Instant};

use plexlab_lab::{Check, eventually};
use plexlab_scenarios::tutorial::session::{End, Ran, Session};
use tokio::sync::watch;

use crate::world::{World, bash};

const LIMIT: Duration = Duration::from_secs(20);

async fn run(session: &mut Session, code: &str) -> Ran {
    let (seen, _) = watch::channel(String::new());
    session.run(code, LIMIT, &seen).await.unwrap()
}

/// Processes whose command line has this word, by /proc.
fn with_word(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|text| text.contains(word)).collect()
}

/// A command line that no other run of these tests has.
fn long_sleep(number: u32) -> String {
    format!("sleep {number}.{}", std::process::id())
}

/// Waits until it runs: a shell goes on before its child has begun.
async fn runs(word: &str) {
    let begun = eventually("the child of the session", LIMIT, || async {
        if with_word(word).is_empty() { Check::NotYet("not there".to_owned()) } else { Check::Done(()) }
    });
    begun.await.unwrap();
}

async fn nothing_left(word: &str) {
    let gone = eventually("the end of all that the session started", LIMIT, || async {
        let left = with_word(word);
        if left.is_empty() { Check::Done(()) } else { Check::NotYet(left.join("; ")) }
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn blocks_share_a_shell_and_keep_their_outputs_apart() {
    let Some(bash) = bash("blocks_share_a_shell_and_keep_their_outputs_apart") else { return };
    let world = World::new(bash);
    let mut session = Session::start(&world.settings()).unwrap();
    let first = run(&mut session, "X='a b'\nf() { echo \"f $X\"; }\ncd /\necho out; echo err >&2").await;
    assert_eq!(first, Ran { end: End::Status(0), stdout: "out\n".into(), stderr: "err\n".into() });
    let second = run(&mut session, "f\npwd\nprintf unended").await;
    assert_eq!(second.stdout, "f a b\n/\nunended");
    let reads = run(&mut session, "cat; read -r line; echo \"read:$line\"").await;
    assert_eq!(reads.stdout, "read:\n", "a block cannot read the next one");
    let large = run(
        &mut session,
        "head -c 300000 /dev/zero | tr '\\0' x; echo; head -c 300000 /dev/zero | tr '\\0' y >&2",
    )
    .await;
    assert_eq!((large.stdout.len(), large.stderr.len(), large.end), (300_001, 300_000, End::Status(0)));
    let home = run(&mut session, "echo \"$HOME\"").await;
    assert!(home.stdout.trim().ends_with("/home") && home.stdout.contains("plexlab-tutorial-"), "{home:?}");
}

#[tokio::test]
async fn the_first_command_that_fails_gives_the_status_and_conditions_do_not() {
    let Some(bash) = bash("the_first_command_that_fails_gives_the_status_and_conditions_do_not") else {
        return;
    };
    let world = World::new(bash);
    world.program("fails", "exit 7");
    let mut session = Session::start(&world.settings()).unwrap();
    for (code, status) in [
        ("true", 0),
        ("fails", 7),
        ("fails\necho later", 7),
        ("X=$(fails | cat)\necho \"$X\"", 7),
        ("if fails; then :; fi; fails || true; while false; do :; done", 0),
        ("f() { fails; echo x; }\nf", 7),
        ("not-a-program-at-all", 127),
        ("if", 2),
        ("true", 0),
    ] {
        let ran = run(&mut session, code).await;
        match (code, ran.end) {
            ("if", End::Status(found)) => assert_ne!(found, 0, "a syntax error"),
            (_, end) => assert_eq!(end, End::Status(status), "{code}"),
        }
    }
    let ended = run(&mut session, "echo bye; exit 3").await;
    assert_eq!((ended.end, ended.stdout.as_str()), (End::Shell, "bye\n"));
    assert_eq!(run(&mut session, "echo no").await.end, End::Shell);
}

#[tokio::test]
async fn a_sleep_is_shorter_and_a_followed_log_ends() {
    let Some(bash) = bash("a_sleep_is_shorter_and_a_followed_log_ends") else { return };
    let world = World::new(bash);
    world
        .program("kubectl", "case \"$*\" in *-f*) echo line; exec sleep 600;; *) echo \"$*\"; exit 4;; esac");
    let mut session = Session::start(&world.settings()).unwrap();
    let begun = Instant::now();
    assert_eq!(run(&mut session, "sleep 10; sleep 0 2s").await.end, End::Status(0));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(550) && took < Duration::from_secs(6), "{took:?}");
    let followed = run(&mut session, "kubectl -n x logs daemonset/y -f | grep --line-buffered line").await;
    assert_eq!((followed.end, followed.stdout.as_str()), (End::Status(0), "line\n"));
    assert_eq!(run(&mut session, "kubectl get pods").await.end, End::Status(4));
}

#[tokio::test]
async fn a_block_that_hangs_is_killed_with_all_it_started() {
    let Some(bash) = bash("a_block_that_hangs_is_killed_with_all_it_started") else { return };
    let world = World::new(bash);
    let mut session = Session::start(&world.settings()).unwrap();
    let (seen, _) = watch::channel(String::new());
    let sleep = long_sleep(6173);
    let code = format!("echo begun; command {sleep} & (command {sleep}; true)");
    let ran = session.run(&code, Duration::from_millis(700), &seen).await.unwrap();
    assert_eq!((ran.end, ran.stdout.as_str()), (End::TimedOut, "begun\n"));
    nothing_left(&sleep).await;
    assert_eq!(run(&mut session, "true").await.end, End::Shell);
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_nothing() {
    let Some(bash) = bash("a_session_that_is_dropped_leaves_nothing") else { return };
    let world = World::new(bash);
    let mut session = Session::start(&world.settings()).unwrap();
    let sleep = long_sleep(6174);
    let code = format!("command {sleep} >/dev/null 2>&1 &\necho \"$HOME\"");
    let home = run(&mut session, &code).await.stdout;
    runs(&sleep).await;
    drop(session);
    nothing_left(&sleep).await;
    assert!(!Path::new(home.trim()).exists());
}

/// As when the runner is killed: nothing of it runs any more, and the kernel closes what it held.
#[tokio::test]
async fn a_shell_whose_runner_is_gone_ends_with_all_it_started() {
    let Some(bash) = bash("a_shell_whose_runner_is_gone_ends_with_all_it_started") else { return };
    let world = World::new(bash);
    let mut session = Session::start(&world.settings()).unwrap();
    let sleep = long_sleep(6175);
    run(&mut session, &format!("command {sleep} >/dev/null 2>&1 &")).await;
    runs(&sleep).await;
    session.abandon();
    nothing_left(&sleep).await;
}

#[tokio::test]
async fn waiting_for_all_children_does_not_wait_for_the_sessions_own() {
    let Some(bash) = bash("waiting_for_all_children_does_not_wait_for_the_sessions_own") else { return };
    let world = World::new(bash);
    let mut session = Session::start(&world.settings()).unwrap();
    assert_eq!(run(&mut session, "true & wait; echo done").await.stdout, "done\n");
}
