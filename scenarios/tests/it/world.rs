//! Where bash is, and a session's settings with made-up programs.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plexlab_harness::redact::Redactor;
use plexlab_lab::skip::skipped;
use plexlab_scenarios::tutorial::session::Settings;
use plexlab_scenarios::tutorial::{Document, Options, Played, play};
use tempfile::TempDir;

/// Bash on the PATH; none says that the test is skipped.
pub fn bash(test: &str) -> Option<PathBuf> {
    let found = on_path("bash");
    if found.is_none() {
        skipped(test, "there is no bash on the PATH");
    }
    found
}

pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A directory with programs in `bin/`.
pub struct World {
    pub folder: TempDir,
    bash: PathBuf,
}

impl World {
    pub fn new(bash: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        Self { folder, bash }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program in bash; it is called before this machine's own.
    pub fn program(&self, name: &str, body: &str) {
        let path = self.path().join("bin").join(name);
        std::fs::write(&path, format!("#!{}\n{body}\n", self.bash.display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn settings(&self) -> Settings {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.path().join("bin").display());
        Settings {
            bash: self.bash.clone(),
            directory: self.path().to_owned(),
            environment: BTreeMap::from([
                ("PATH".to_owned(), path),
                ("WORLD".to_owned(), self.path().display().to_string()),
            ]),
            sleep_divisor: 20,
            follow: Duration::from_secs(1),
        }
    }

    pub fn options(&self) -> Options {
        Options {
            settings: self.settings(),
            answers: BTreeMap::new(),
            replacements: BTreeMap::new(),
            limit: Duration::from_secs(20),
            retry_for: Duration::from_secs(10),
        }
    }

    pub async fn play(&self, text: &str, options: &Options) -> Played {
        plexlab_lab::tls::install_provider();
        play(&Document::read(text), options, &Redactor::default(), |_| {}).await.unwrap()
    }
}
