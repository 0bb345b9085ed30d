//! Which paths of the scope an expression reads: for checks when a definition is accepted, and to keep no more of a
//! run's state than its expressions name.

use super::ast::{Arena, Constant, Kind, NodeId};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a map; as the first of a path, the variable's name.
    Key(String),
    /// A position in a list.
    Index(i64),
}

/// A path that is read. Where the rest of the way is computed (`steps[x]`), the path ends before it, and everything
/// below it may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// From the variable down; never empty.
    pub path: Vec<Segment>,
    /// Where the variable stands, in characters.
    pub offset: usize,
}

/// All paths in the order of their appearance. A path appears as often as it is written; the variables of macros do
/// not appear.
pub(super) fn references(arena: &Arena) -> Vec<Reference> {
    let mut continued = vec![false; arena.nodes.len()];
    for node in &arena.nodes {
        if let Some((target, _)) = step(arena, &node.kind) {
            continued[target as usize] = true;
        }
    }
    let mut found: Vec<Reference> = (0..)
        .zip(&continued)
        .filter(|(_, continued)| !**continued)
        .filter_map(|(id, _)| path(arena, id))
        .collect();
    found.sort_by_key(|reference| reference.offset);
    found
}

/// The path that ends at a node, if it is one: from the end up to the variable.
fn path(arena: &Arena, end: NodeId) -> Option<Reference> {
    let mut path = Vec::new();
    let mut id = end;
    loop {
        let node = &arena.nodes[id as usize];
        if let Kind::Free(name) = &node.kind {
            path.push(Segment::Key(name.to_string()));
            path.reverse();
            return Some(Reference {
                path,
                offset: node.offset as usize,
            });
        }
        let (target, segment) = step(arena, &node.kind)?;
        path.push(segment);
        id = target;
    }
}

/// The target and the segment of a node that continues a path.
fn step(arena: &Arena, kind: &Kind) -> Option<(NodeId, Segment)> {
    match kind {
        Kind::Select(target, key) | Kind::Has(target, key) => Some((*target, Segment::Key(key.to_string()))),
        Kind::Index(target, index) => match arena.kind(*index) {
            Kind::Constant(Constant::Text(key)) => Some((*target, Segment::Key(key.to_string()))),
            Kind::Constant(Constant::Int(index)) => Some((*target, Segment::Index(*index))),
            _ => None,
        },
        _ => None,
    }
}
