//! The tree of an expression, in a flat arena: children come before their parents, and dropping it never recurses.

use super::functions::Function;
use super::operators::Operator;
use super::pattern::Pattern;

/// A node's place in the arena.
pub(super) type NodeId = u32;

/// All nodes of one expression.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) nodes: Vec<Node>,
    /// The elements of lists, maps and calls, each a [`Range`] of this.
    pub(super) children: Vec<NodeId>,
}

/// A part of [`Arena::children`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// One node and where it begins, in characters.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) offset: u32,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind {
    Constant(Constant),
    /// A variable of the scope.
    Free(Box<str>),
    /// A variable of a macro around: its place among those in scope.
    Local(u32),
    Select(NodeId, Box<str>),
    /// `has(target.key)`
    Has(NodeId, Box<str>),
    Index(NodeId, NodeId),
    Not(NodeId),
    Negate(NodeId),
    And(NodeId, NodeId),
    Or(NodeId, NodeId),
    Binary(Operator, NodeId, NodeId),
    Conditional(NodeId, NodeId, NodeId),
    List(Range),
    /// Keys and values in turn.
    Map(Range),
    /// A receiver is the first argument.
    Call(Function, Range),
    Matches(NodeId, Pattern),
    Comprehension(Comprehension),
}

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Type(&'static str),
}

/// A macro over the elements of a list or the keys of a map. Its variable is the local of number `slot`.
#[derive(Debug)]
pub(super) struct Comprehension {
    pub(super) quantifier: Quantifier,
    pub(super) range: NodeId,
    pub(super) slot: u32,
    /// The condition of `all`, `exists`, `exists_one`, `filter`, and of `map` with three arguments.
    pub(super) condition: Option<NodeId>,
    /// The result of `map`.
    pub(super) transform: Option<NodeId>,
}

/// What a macro makes of its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl Arena {
    pub(super) fn kind(&self, id: NodeId) -> &Kind {
        &self.nodes[id as usize].kind
    }

    pub(super) fn children(&self, range: Range) -> &[NodeId] {
        &self.children[range.start as usize..range.end as usize]
    }
}
