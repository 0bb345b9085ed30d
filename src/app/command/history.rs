//! `everstep history`.

use uuid::Uuid;

use super::{super::Failure, find::find, palette, print, print_document, reach, target::Target};
use crate::{
    cli::people,
    show,
    store::{HistoryRow, Surface},
};

/// Events read at once.
const PAGE: i64 = 1000;

/// Shows what was decided in a run.
pub(in crate::app) async fn history(options: people::History) -> Result<(), Failure> {
    let target = Target::parse(&options.run).map_err(Failure::Configuration)?;
    let namespace = reach::namespace(&options.place.cluster).await?;
    let mut surface = reach::surface(&options.place.database).await?;
    let run = find(&mut surface, &namespace, &target).await?;
    let rows = events(&mut surface, run.id, (options.after, i32::MAX)).await?;
    match options.output {
        Some(output) => print_document(&rows, output.into()),
        None => print(&show::history(&rows, palette())),
    }
}

/// All events after this one, oldest first.
pub(super) async fn events(
    surface: &mut Surface,
    run: Uuid,
    mut after: (i32, i32),
) -> Result<Vec<HistoryRow>, crate::store::SurfaceError> {
    let mut events = Vec::new();
    loop {
        let page = surface.run_history(run, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(events) };
        after = (last.seq, last.place);
        events.extend(page);
    }
}
