//! What people read in a terminal: tables, trees, histories. Pure: rows in, text out.
//!
//! Whatever comes from a run is shown without control characters: a step's error message must not move the cursor.

mod age;
mod document;
pub mod event;
mod history;
mod paint;
mod runs;
mod table;
mod tree;

pub use age::{age, span};
pub use document::{json, yaml};
pub use history::history;
pub use paint::{Paint, Palette};
pub use runs::{Columns, problem, runs};
pub use table::{Cell, Table, printable};
pub use tree::{Tree, tree};
