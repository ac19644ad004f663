//! A place of its own for every test: home, state, cache of its own; the command line run in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Output;

use duct::Expression;
use tempfile::TempDir;

/// A temporary home. Stacks that a test leaves running are ended when it is dropped.
pub struct Lab {
    root: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("plexlab-test-").tempdir().unwrap();
        std::fs::create_dir(root.path().join("home")).unwrap();
        Self { root }
    }

    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub fn reports(&self) -> PathBuf {
        self.root.path().join("reports")
    }

    /// A command in this lab's environment; it starts in an empty directory.
    pub fn command<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Expression {
        self.command_with(&[], program, arguments)
    }

    /// The same with more variables.
    pub fn command_with<A: AsRef<OsStr>>(
        &self,
        variables: &[(String, String)],
        program: &str,
        arguments: &[A],
    ) -> Expression {
        let mut environment: BTreeMap<OsString, OsString> = [
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("HOME", self.home().into_os_string()),
            ("PLEXLAB_STATE_DIR", self.state().into_os_string()),
            // Shared by all tests: initialised templates are worth keeping.
            ("PLEXLAB_CACHE", shared_cache().into_os_string()),
        ]
        .map(|(name, value)| (name.into(), value))
        .into();
        environment.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_owned()).collect();
        duct::cmd(program, arguments).dir(self.home()).full_env(environment).unchecked()
    }

    /// `cargo xtask …`.
    pub fn xtask<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Expression {
        self.command(env!("CARGO_BIN_EXE_xtask"), arguments)
    }

    /// Runs `cargo xtask …` to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Outcome {
        Outcome::of(self.xtask(arguments))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let stacks = std::fs::read_dir(self.state().join("stacks"));
        for stack in stacks.into_iter().flatten().filter_map(Result::ok) {
            let name = stack.file_name().to_string_lossy().into_owned();
            let _ = self.xtask(&["down", "--name", &name]).stdout_null().stderr_null().run();
        }
    }
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn of(command: Expression) -> Self {
        let Output { status, stdout, stderr } = command.stdout_capture().stderr_capture().run().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Fails the test with everything that was said, unless the command ended well.
    #[track_caller]
    pub fn expect_success(self, what: &str) -> Self {
        assert_eq!(self.code, Some(0), "{what}: {self:#?}");
        self
    }
}

fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// Whether a program is on PATH; if not, says that the test is skipped.
pub fn has(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !found {
        plexlab_lab::skip::skipped(test, &format!("{program} is not on PATH"));
    }
    found
}
