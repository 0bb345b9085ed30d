//! `everstep tree`.

use jiff::Timestamp;

use super::{super::Failure, find::find, history::events, palette, print, print_document, reach, target::Target};
use crate::{cli::people, show};

/// Shows the steps of a run.
pub(in crate::app) async fn tree(options: people::Tree) -> Result<(), Failure> {
    let target = Target::parse(&options.run).map_err(Failure::Configuration)?;
    let namespace = reach::namespace(&options.place.cluster).await?;
    let mut surface = reach::surface(&options.place.database).await?;
    let run = find(&mut surface, &namespace, &target).await?;
    let history = events(&mut surface, run.id, (0, 0)).await?;
    let tree = show::Tree::of(run, &history);
    match options.output {
        Some(output) => print_document(&tree, output.into()),
        None => print(&show::tree(&tree, Timestamp::now(), palette())),
    }
}
