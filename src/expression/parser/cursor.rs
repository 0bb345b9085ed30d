//! Where the parser is in the list of tokens, and what it says when it expected another one.

use super::Parser;
use crate::expression::{
    error::{SyntaxError, shown},
    lexer::Token,
};

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    /// The next three tokens; the end repeats.
    pub(super) fn following(&self) -> [&Token; 3] {
        let last = self.lexemes.len() - 1;
        [0, 1, 2].map(|ahead| &self.lexemes[(self.at + ahead).min(last)].token)
    }

    pub(super) fn offset(&self) -> usize {
        self.lexemes[self.at].offset
    }

    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &'static str) -> Result<(), SyntaxError> {
        if self.accept(symbol) {
            return Ok(());
        }
        Err(self.expected(&format!("`{symbol}`")))
    }

    pub(super) fn expected(&self, what: &str) -> SyntaxError {
        let found = match self.peek() {
            Token::Word(name) | Token::Quoted(name) => shown(name),
            Token::Integer(_) | Token::Double(_) => "a number".into(),
            Token::Text(_) | Token::Bytes(_) => "a string".into(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".into(),
        };
        SyntaxError::new(self.offset(), format!("expected {what}, found {found}"))
    }
}
