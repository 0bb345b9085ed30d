//! One control plane a test binary; each test makes its own namespace in it.

use tokio::sync::OnceCell;

#[path = "../../e2e/controlplane/rig/mod.rs"]
mod rig;

pub(crate) use rig::{ControlPlane, Write};

/// The control plane of this test binary. Tests that stop a server start their own.
pub(crate) async fn shared() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE
        .get_or_init(|| async {
            let plane = ControlPlane::start().await.unwrap();
            eprintln!(
                "control plane: ready in {:?}, logs in {}",
                plane.started_in(),
                plane.directory().display()
            );
            plane
        })
        .await
}
