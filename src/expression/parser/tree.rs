//! Nodes join the tree here, and here its size and height are bounded.

use super::{Parsed, Parser};
use crate::expression::{
    ast::{Kind, Node, NodeId, Range},
    error::SyntaxError,
    limits::{HEIGHT, NODES},
};

impl Parser {
    pub(super) fn add(&mut self, kind: Kind, offset: usize, children: &[NodeId]) -> Parsed {
        let height = 1 + children
            .iter()
            .map(|child| self.heights[*child as usize])
            .max()
            .unwrap_or(0);
        if height > HEIGHT {
            let message = format!("the expression is more than {HEIGHT} operations deep: split it");
            return Err(SyntaxError::new(offset, message));
        }
        if self.arena.nodes.len() == NODES {
            return Err(SyntaxError::new(
                offset,
                format!("the expression has more than {NODES} parts: split it"),
            ));
        }
        let id = NodeId::try_from(self.arena.nodes.len()).expect("there are at most NODES nodes");
        let offset = u32::try_from(offset).expect("the source is short");
        self.arena.nodes.push(Node { kind, offset });
        self.heights.push(height);
        Ok(id)
    }

    pub(super) fn range(&mut self, children: &[NodeId]) -> Range {
        let index = |length: usize| u32::try_from(length).expect("there are at most NODES children");
        let start = index(self.arena.children.len());
        self.arena.children.extend_from_slice(children);
        Range {
            start,
            end: index(self.arena.children.len()),
        }
    }
}
