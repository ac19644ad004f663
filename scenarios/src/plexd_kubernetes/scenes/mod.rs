//! The scenes in which statements are judged: each sets an agent up in its own way and looks at what it does.

mod audit;
mod bad_input;
mod daemonset;
mod definitions;
mod environment;
mod hooks;
mod life;
mod outside;
mod refused;
mod reports;
mod reviews;
mod secrets;
mod state;

use futures::future::LocalBoxFuture;
use plexlab_harness::run::Failure;

use super::ground::Ground;

pub use bad_input::before_definitions;

/// A scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scene {
    /// An agent in a pod, as the cluster makes it.
    Pod,
    /// In a pod, told to be off; with the default interval.
    Forced,
    /// Not in a pod.
    Outside,
    /// Not in a pod, with a Kubernetes half that could not be.
    OutsideInvalid,
    /// With a namespace, an audit log and an interval of its own.
    Override,
    /// With a token of its own.
    TokenPath,
    /// In a pod that does not know its namespace.
    NoNamespace,
    /// With an interval that is too short.
    ShortInterval,
    /// A fresh resource, and what the control plane says.
    State,
    /// A resource that was there, and somebody who meddles with it.
    Present,
    /// Reports in its status.
    Reports,
    /// An audit log.
    Audit,
    /// Callers with tokens.
    Reviews,
    /// Callers with tokens for somebody else.
    Audience,
    /// An API server that the mount's authority does not vouch for.
    OtherAuthority,
    /// An API server of yesterday.
    OldTls,
    /// Hooks.
    Hooks,
    /// Secrets.
    Secrets,
    /// An API server that refuses.
    Refused,
    /// The definitions.
    Definitions,
    /// The roles.
    Rights,
    /// The reference's own DaemonSet.
    DaemonSet,
    /// A control plane that is not ready.
    Pending,
    /// A token in a read-only file.
    TokenFile,
    /// SIGTERM.
    Drain,
    /// A control plane that comes, goes and refuses.
    Life,
    /// A reply that is lost.
    LostReply,
    /// Events, good and bad.
    Events,
    /// The configuration as documented.
    Documented,
    /// A configuration that is none.
    BadConfig,
    /// A token that cannot be read.
    BadToken,
    /// A gigabyte of garbage in the audit log.
    BadAudit,
    /// A service account without the agent's role.
    NoRights,
    /// A cluster that lacks the agent's definitions. Begun before all others, see [`before_definitions`].
    NoDefinitions,
    /// An API server that is restarted.
    ApiRestart,
    /// Nothing shows it.
    Unreachable,
}

impl Scene {
    /// All that are played.
    pub const ALL: [Scene; 35] = [
        Scene::DaemonSet,
        Scene::BadAudit,
        Scene::Forced,
        Scene::Audit,
        Scene::Pod,
        Scene::Present,
        Scene::State,
        Scene::Reports,
        Scene::Secrets,
        Scene::Hooks,
        Scene::Reviews,
        Scene::Audience,
        Scene::Override,
        Scene::TokenPath,
        Scene::Refused,
        Scene::OtherAuthority,
        Scene::OldTls,
        Scene::Outside,
        Scene::OutsideInvalid,
        Scene::NoNamespace,
        Scene::ShortInterval,
        Scene::Definitions,
        Scene::Rights,
        Scene::Pending,
        Scene::TokenFile,
        Scene::Drain,
        Scene::Life,
        Scene::LostReply,
        Scene::Events,
        Scene::Documented,
        Scene::BadConfig,
        Scene::BadToken,
        Scene::NoRights,
        Scene::NoDefinitions,
        Scene::ApiRestart,
    ];

    /// Plays it. What it finds goes to the ground's ledger; what it returns is why it could not go on.
    pub fn play(self, ground: &Ground) -> LocalBoxFuture<'_, Result<(), Failure>> {
        match self {
            Scene::Pod => Box::pin(environment::pod(ground)),
            Scene::Forced => Box::pin(environment::forced(ground)),
            Scene::Override => Box::pin(environment::overridden(ground)),
            Scene::TokenPath => Box::pin(environment::token_path(ground)),
            Scene::Outside => Box::pin(outside::outside(ground)),
            Scene::OutsideInvalid => Box::pin(outside::invalid(ground)),
            Scene::NoNamespace => Box::pin(outside::no_namespace(ground)),
            Scene::ShortInterval => Box::pin(outside::short_interval(ground)),
            Scene::State => Box::pin(state::fresh(ground)),
            Scene::Present => Box::pin(state::present(ground)),
            Scene::Reports => Box::pin(reports::play(ground)),
            Scene::Audit => Box::pin(audit::play(ground)),
            Scene::Drain => Box::pin(audit::drain(ground)),
            Scene::Reviews => Box::pin(reviews::play(ground)),
            Scene::Audience => Box::pin(reviews::audience(ground)),
            Scene::OtherAuthority => Box::pin(reviews::other_authority(ground)),
            Scene::OldTls => Box::pin(reviews::old_tls(ground)),
            Scene::Hooks => Box::pin(hooks::play(ground)),
            Scene::Secrets => Box::pin(secrets::play(ground)),
            Scene::Refused => Box::pin(refused::play(ground)),
            Scene::Definitions => Box::pin(definitions::served(ground)),
            Scene::Rights => Box::pin(definitions::rights(ground)),
            Scene::DaemonSet => Box::pin(daemonset::play(ground)),
            Scene::Pending => Box::pin(daemonset::pending(ground)),
            Scene::TokenFile => Box::pin(daemonset::token_file(ground)),
            Scene::Life => Box::pin(life::play(ground)),
            Scene::LostReply => Box::pin(life::lost_reply(ground)),
            Scene::Events => Box::pin(life::events(ground)),
            Scene::Documented => Box::pin(environment::documented(ground)),
            Scene::BadConfig => Box::pin(bad_input::config(ground)),
            Scene::BadToken => Box::pin(bad_input::token(ground)),
            Scene::BadAudit => Box::pin(bad_input::audit(ground)),
            Scene::NoRights => Box::pin(bad_input::rights(ground)),
            Scene::ApiRestart => Box::pin(bad_input::restart(ground)),
            // What is there to play was begun before the definitions were there.
            Scene::NoDefinitions | Scene::Unreachable => Box::pin(async { Ok(()) }),
        }
    }
}
