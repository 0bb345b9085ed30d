//! How a process learns that it should end: SIGTERM and SIGINT. The second one ends it at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let asked = token.clone();
    // Lives as long as the process; nobody awaits it.
    tokio::spawn(async move {
        for asked_before in [false, true] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if asked_before {
                tracing::warn!(
                    signal = name,
                    "asked twice: ending at once, running attempts are cut off"
                );
                std::process::exit(1);
            }
            tracing::info!(signal = name, "ending: no new work, running attempts finish");
            asked.cancel();
        }
    });
    Ok(token)
}
