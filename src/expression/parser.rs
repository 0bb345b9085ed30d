//! From tokens to a tree, by recursive descent with operator precedence. Holds every limit on an expression's shape,
//! finds functions and macro variables by name, and so leaves nothing unresolved but the scope.
//!
//! Here is the grammar; what names mean is in `names`, how nodes join in `tree`, where we are in `cursor`.

mod cursor;
mod infix;
mod names;
mod tree;

use super::ast::{Arena, Constant, Kind, NodeId};
use super::error::SyntaxError;
use super::functions::Function;
use super::lexer::{Lexeme, Token, tokens};
use super::limits::{NESTING, SOURCE_BYTES};
use infix::Infix;
use names::quantifier;

const KEYWORDS: [&str; 4] = ["true", "false", "null", "in"];
/// Parses a whole source text; the root is the last node.
pub(super) fn parse(source: &str) -> Result<(Arena, NodeId), SyntaxError> {
    if source.len() > SOURCE_BYTES {
        return Err(SyntaxError::new(
            0,
            format!("the expression is longer than {SOURCE_BYTES} bytes"),
        ));
    }
    let mut parser = Parser {
        lexemes: tokens(source)?,
        at: 0,
        arena: Arena::default(),
        heights: Vec::new(),
        nesting: 0,
        locals: Vec::new(),
        patterns: 0,
    };
    let root = parser.expression()?;
    if *parser.peek() != Token::End {
        return Err(parser.expected("an operator or the end"));
    }
    Ok((parser.arena, root))
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    arena: Arena,
    /// Of each node.
    heights: Vec<usize>,
    nesting: usize,
    /// Names of the macro variables in scope.
    locals: Vec<String>,
    /// Compiled size of all patterns so far.
    patterns: usize,
}

type Parsed = Result<NodeId, SyntaxError>;

impl Parser {
    /// `or ? or : expression`, or just `or`.
    fn expression(&mut self) -> Parsed {
        self.nesting += 1;
        if self.nesting > NESTING {
            return Err(SyntaxError::new(
                self.offset(),
                format!("nested deeper than {NESTING} levels"),
            ));
        }
        let offset = self.offset();
        let mut node = self.binary(1)?;
        if self.accept("?") {
            let yes = self.binary(1)?;
            self.expect(":")?;
            let no = self.expression()?;
            node = self.add(Kind::Conditional(node, yes, no), offset, &[node, yes, no])?;
        }
        self.nesting -= 1;
        Ok(node)
    }

    /// Operators that bind at least as tightly as `precedence`, all of them from left to right.
    fn binary(&mut self, precedence: u8) -> Parsed {
        let offset = self.offset();
        let mut left = self.unary()?;
        loop {
            let Some(infix) = Infix::of(self.peek()).filter(|infix| infix.precedence() >= precedence) else {
                return Ok(left);
            };
            self.at += 1;
            let right = self.binary(infix.precedence() + 1)?;
            let kind = match infix {
                Infix::Or => Kind::Or(left, right),
                Infix::And => Kind::And(left, right),
                Infix::Other(operator) => Kind::Binary(operator, left, right),
            };
            left = self.add(kind, offset, &[left, right])?;
        }
    }

    /// Signs and negations before a term. A minus before digits belongs to the number: the smallest integer has no
    /// positive counterpart.
    fn unary(&mut self) -> Parsed {
        let first = self.at;
        while matches!(self.peek(), Token::Symbol("!" | "-")) {
            self.at += 1;
        }
        let mut end = self.at;
        let negative = end > first
            && self.lexemes[end - 1].token == Token::Symbol("-")
            && matches!(self.peek(), Token::Integer(_) | Token::Double(_));
        if negative {
            end -= 1;
        }
        let mut node = self.postfix(negative)?;
        for at in (first..end).rev() {
            let offset = self.lexemes[at].offset;
            let kind = if self.lexemes[at].token == Token::Symbol("!") {
                Kind::Not(node)
            } else {
                Kind::Negate(node)
            };
            node = self.add(kind, offset, &[node])?;
        }
        Ok(node)
    }

    /// A term and what is selected, indexed or called on it.
    fn postfix(&mut self, negative: bool) -> Parsed {
        let offset = self.offset();
        let mut node = self.primary(negative)?;
        loop {
            if self.accept("[") {
                let index = self.expression()?;
                self.expect("]")?;
                node = self.add(Kind::Index(node, index), offset, &[node, index])?;
            } else if self.accept(".") {
                node = self.member(node, offset)?;
            } else {
                return Ok(node);
            }
        }
    }

    /// What follows a dot.
    fn member(&mut self, target: NodeId, offset: usize) -> Parsed {
        let at = self.offset();
        let (name, callable) = match self.peek() {
            Token::Word(name) if !KEYWORDS.contains(&name.as_str()) => (name.clone(), true),
            Token::Quoted(name) => (name.clone(), false),
            _ => return Err(self.expected("a name after the dot")),
        };
        self.at += 1;
        if !callable || *self.peek() != Token::Symbol("(") {
            return self.add(Kind::Select(target, name.into()), offset, &[target]);
        }
        self.at += 1;
        if let Some(quantifier) = quantifier(&name) {
            return self.comprehension(quantifier, &name, target, offset);
        }
        let arguments = self.arguments(Some(target))?;
        self.call(Function::method(&name, arguments.len()), &name, arguments, at)
    }

    fn primary(&mut self, negative: bool) -> Parsed {
        let offset = self.offset();
        let word = matches!(self.peek(), Token::Word(_) | Token::Symbol("."));
        if word {
            return self.word();
        }
        // Taken out of the list: each token is read once.
        let token = std::mem::replace(&mut self.lexemes[self.at].token, Token::Symbol(""));
        self.at += 1;
        let constant = match token {
            Token::Integer(number) => Constant::Int(integer(number, negative).ok_or_else(|| {
                SyntaxError::new(
                    offset,
                    "the integer does not fit into 64 bits: write it with a decimal point",
                )
            })?),
            Token::Double(number) => Constant::Double(if negative { -number } else { number }),
            Token::Text(text) => Constant::Text(text.into()),
            Token::Bytes(bytes) => Constant::Bytes(bytes.into()),
            Token::Symbol("(") => {
                let node = self.expression()?;
                self.expect(")")?;
                return Ok(node);
            }
            Token::Symbol("[") => {
                let mut elements = Vec::new();
                self.elements("]", true, |parser| {
                    elements.push(parser.expression()?);
                    Ok(())
                })?;
                let range = self.range(&elements);
                return self.add(Kind::List(range), offset, &elements);
            }
            Token::Symbol("{") => {
                let mut elements = Vec::new();
                self.elements("}", true, |parser| {
                    elements.push(parser.expression()?);
                    parser.expect(":")?;
                    elements.push(parser.expression()?);
                    Ok(())
                })?;
                let range = self.range(&elements);
                return self.add(Kind::Map(range), offset, &elements);
            }
            token @ (Token::Word(_) | Token::Quoted(_) | Token::Symbol(_) | Token::End) => {
                self.at -= 1;
                self.lexemes[self.at].token = token;
                return Err(self.expected("a value"));
            }
        };
        self.add(Kind::Constant(constant), offset, &[])
    }

    /// Elements separated by commas up to the closing symbol, which is taken too.
    fn elements(
        &mut self,
        close: &'static str,
        trailing_comma: bool,
        mut element: impl FnMut(&mut Self) -> Result<(), SyntaxError>,
    ) -> Result<(), SyntaxError> {
        if self.accept(close) {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.accept(",") {
                return self.expect(close);
            }
            if trailing_comma && self.accept(close) {
                return Ok(());
            }
        }
    }
}

fn integer(digits: u64, negative: bool) -> Option<i64> {
    let number = i128::from(digits);
    i64::try_from(if negative { -number } else { number }).ok()
}
