//! Containers as processes of this machine: whether that works here, and what runs for each image.
//!
//! Owns: the images of the stack's components. Does not own: running them, which the kubelet does.

use std::path::PathBuf;

use plexlab_kubelet::{Image, ImageStore, ProcessChange, ProcessEvent, Program};
use plexlab_postgres::{Binaries, Cache, Owner, Template};

use crate::backend::{BackendKind, ClusterSpec, Unavailable};
use crate::clouds;
use crate::flux;
use crate::images::{Component, ImageSource};
use crate::relay;
use crate::timeline::{Entry, Source, Timeline};

/// The first argument with which this program is one of the stand-ins.
pub const FIXTURE_ARGUMENT: &str = "fixture";

/// Whether this machine lets containers be made of processes.
///
/// # Errors
/// [`Unavailable`] when it does not.
pub fn available() -> Result<(), Unavailable> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // What forbids an ordinary user to make namespaces, and the value that does.
    let switches = [
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let forbidden = switches.into_iter().find(|(switch, value, _)| {
        std::fs::read_to_string(format!("/proc/sys/{switch}")).is_ok_and(|text| text.trim() == *value)
    });
    match forbidden {
        None => Ok(()),
        Some((switch, value, command)) => Err(Unavailable {
            backend: BackendKind::Embedded,
            why: format!("containers need user namespaces, which {switch}={value} forbids to ordinary users"),
            hint: format!("`sudo {command}` allows them, or run as root"),
        }),
    }
}

/// Directory of the Postgres server programs that are installed, or why there are none.
///
/// # Errors
/// What was looked for, as text.
pub fn installed_postgres() -> Result<PathBuf, String> {
    Binaries::find().map(|found| found.directory().to_owned()).map_err(|error| error.to_string())
}

/// This program, as the stand-ins' multi-call binary.
pub(super) fn own_program() -> Vec<std::ffi::OsString> {
    vec!["/proc/self/exe".into(), FIXTURE_ARGUMENT.into()]
}

/// The postgres image: the entrypoint applet, the machine's own server programs, an initialised template.
///
/// # Errors
/// Why there is none, as text: no server program could be found or downloaded, or it does not work.
pub(super) async fn postgres_image(cache: PathBuf) -> Result<Image, String> {
    let cache = Cache::at(cache);
    let binaries = Binaries::find_or_download(&cache).await.map_err(|error| error.to_string())?;
    let directory = binaries.directory().to_owned();
    let prepare = move || Template::ensure(&cache, &binaries, &Owner::named("plexsphere"));
    let template = tokio::task::spawn_blocking(prepare).await.map_err(|error| error.to_string())?;
    let template = template.map_err(|error| error.to_string())?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let mut image = stand_in("postgres");
    image.env.insert("PLEXLAB_POSTGRES_BINARIES".into(), text(&directory));
    image.env.insert("PLEXLAB_POSTGRES_TEMPLATE".into(), text(template.directory()));
    // Downloaded programs come with their libraries beside them.
    let installation = directory.parent().unwrap_or(&directory).to_owned();
    image.contents = vec![installation, template.directory().to_owned()];
    Ok(image)
}

/// An image that is one of the stand-ins.
pub(super) fn stand_in(applet: &str) -> Image {
    let mut image = Image::stand_in(applet);
    if let Program::StandIn { multicall, .. } = &mut image.program {
        *multicall = own_program();
    }
    image
}

/// The image of the cloudless blueprint's enrolment Job, by its tag: the Job's script calls `curl`, which this program
/// is when it is started under that name, so that the machine needs none.
const ENROLMENT_IMAGE: &str = "curlimages/curl:8.11.1";

fn enrolment_image() -> Image {
    let mut image = stand_in("curl");
    image.names = vec!["curl".to_owned()];
    image.user = 100;
    image
}

/// The image of a virtual cluster, which no stack has of itself: scenarios bring it.
pub(crate) const VCLUSTER_IMAGE: &str = "plexlab.dev/vcluster:dev";

/// The images that manifests of stacks and scenarios name besides those of the components.
pub(super) fn further_images() -> ImageStore {
    let store = ImageStore::new().with(ENROLMENT_IMAGE, enrolment_image());
    let store = store.with(VCLUSTER_IMAGE, stand_in("vcluster")).with(relay::IMAGE, stand_in("relay"));
    let store =
        clouds::IMAGES.into_iter().fold(store, |store, (name, applet)| store.with(name, stand_in(applet)));
    flux::IMAGES.into_iter().fold(store, |store, (name, applet)| store.with(name, stand_in(applet)))
}

pub(super) fn image_store(spec: &ClusterSpec, postgres: Image) -> ImageStore {
    let flux = flux::IMAGES.into_iter().find(|(name, _)| *name == flux::FLUX_IMAGE);
    let store = flux.into_iter().fold(further_images(), |store, (name, applet)| {
        store.with(name, with_clouds(stand_in(applet), spec))
    });
    let images = &spec.images;
    Component::ALL.into_iter().fold(store, |store, component| {
        let image = match (component, images.source(component)) {
            (Component::Postgres, _) => postgres.clone(),
            (_, ImageSource::Bin(path)) => Image::executable(path),
            _ => stand_in(component.name()),
        };
        let is_operator = component == Component::ExternalSecrets;
        store.with(component.image(), if is_operator { with_clouds(image, spec) } else { image })
    })
}

/// An image whose program reaches the stack's clouds, if it has any.
fn with_clouds(mut image: Image, spec: &ClusterSpec) -> Image {
    if !spec.clouds.is_empty() {
        let authority = spec.dir.join(clouds::AUTHORITY);
        image.env.extend(clouds::environment(&spec.clouds, &authority));
        image.contents.push(authority);
    }
    image
}

/// A process that started or ended, as a timeline entry.
pub(super) fn record(timeline: &Timeline, event: &ProcessEvent) {
    let what = match event.change {
        ProcessChange::Started => format!("{} started as process {}", event.container, event.pid),
        ProcessChange::Ended(code) => format!("{} ended with exit code {code}", event.container),
    };
    timeline.add(Entry {
        at: event.at,
        source: Source::Process,
        actor: format!("Pod {}/{}", event.namespace, event.pod),
        what,
        fields: [("node".to_owned(), event.node.clone()), ("attempt".to_owned(), event.attempt.to_string())]
            .into(),
    });
}
