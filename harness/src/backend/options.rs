//! What is chosen for a backend besides its name.

use std::path::PathBuf;

use serde::Serialize;

/// The choices; a backend that has no use for one ignores it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackendOptions {
    /// `kubeconfig`: the file to attach by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// `kubeconfig`: the context in it; none means its current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// `kubeconfig`: the context that may lead to another machine, or look like a production one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_context: Option<String>,
    /// `kind`: the image of its nodes, in place of the pinned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_image: Option<String>,
    /// `kind`: archives of images that its nodes get besides those of the stand-ins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_archives: Vec<PathBuf>,
    /// `kind`: whether a cluster on which something failed stays.
    #[serde(skip_serializing_if = "is_false")]
    pub keep: bool,
}

impl BackendOptions {
    /// Whether nothing was chosen.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}
