//! From tokens to a tree, by recursive descent with operator precedence. Holds every limit on an expression's shape,
//! finds functions and macro variables by name, and so leaves nothing unresolved but the scope.

use super::ast::{Arena, Comprehension, Constant, Kind, Node, NodeId, Quantifier, Range};
use super::error::{SyntaxError, shown};
use super::functions::{Found, Function};
use super::lexer::{Lexeme, Token, tokens};
use super::limits::{HEIGHT, MACROS, NESTING, NODES, PATTERNS_COMPILED, SOURCE_BYTES};
use super::operators::Operator;
use super::pattern::Pattern;

const KEYWORDS: [&str; 4] = ["true", "false", "null", "in"];
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
/// Words that stand for a type where no variable of a macro has that name.
const TYPES: [&str; 10] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];
/// Functions that are written behind this word and a dot.
const MATH: &str = "math";

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

    /// A keyword, a variable, a type or a call of a function.
    fn word(&mut self) -> Parsed {
        let offset = self.offset();
        let global = self.accept(".");
        let Token::Word(name) = self.peek() else {
            return Err(self.expected("a name"));
        };
        let name = name.clone();
        let constant = match name.as_str() {
            "true" => Some(Constant::Bool(true)),
            "false" => Some(Constant::Bool(false)),
            "null" => Some(Constant::Null),
            _ => None,
        };
        if constant.is_none() && (name == "in" || RESERVED.contains(&name.as_str())) || (constant.is_some() && global) {
            return Err(SyntaxError::new(offset, format!("{} is a reserved word", shown(&name))));
        }
        self.at += 1;
        if let Some(constant) = constant {
            return self.add(Kind::Constant(constant), offset, &[]);
        }
        if self.accept("(") {
            if name == "has" {
                return self.has(offset);
            }
            let arguments = self.arguments(None)?;
            return self.call(Function::global(&name, arguments.len()), &name, arguments, offset);
        }
        let local = if global {
            None
        } else {
            self.locals.iter().rposition(|local| *local == name)
        };
        if let Some(slot) = local {
            let slot = u32::try_from(slot).expect("there are at most MACROS locals");
            return self.add(Kind::Local(slot), offset, &[]);
        }
        if name == MATH
            && let [Token::Symbol("."), Token::Word(function), Token::Symbol("(")] = self.following()
        {
            let function = function.clone();
            self.at += 3;
            let arguments = self.arguments(None)?;
            return self.call(Function::math(&function, arguments.len()), &function, arguments, offset);
        }
        let kind = match TYPES.iter().find(|known| **known == name) {
            Some(known) => Kind::Constant(Constant::Type(known)),
            None => Kind::Free(name.into()),
        };
        self.add(kind, offset, &[])
    }

    /// `has(target.key)`, after the opening parenthesis.
    fn has(&mut self, offset: usize) -> Parsed {
        let selected = self.expression()?;
        self.expect(")")?;
        let kind = &mut self.arena.nodes[selected as usize].kind;
        let Kind::Select(target, key) = kind else {
            return Err(SyntaxError::new(
                offset,
                "has() takes a path that ends with a key, such as has(input.note)",
            ));
        };
        *kind = Kind::Has(*target, std::mem::take(key));
        Ok(selected)
    }

    /// A macro, after the opening parenthesis: its variable is in scope for the rest of it.
    fn comprehension(&mut self, quantifier: Quantifier, name: &str, range: NodeId, offset: usize) -> Parsed {
        let variable = match self.peek() {
            Token::Word(word) if !KEYWORDS.contains(&word.as_str()) && !RESERVED.contains(&word.as_str()) => {
                word.clone()
            }
            _ => return Err(self.expected(&format!("the name of a variable as the first argument of {name}()"))),
        };
        if self.locals.len() == MACROS {
            return Err(SyntaxError::new(
                self.offset(),
                format!("more than {MACROS} macros inside one another"),
            ));
        }
        self.at += 1;
        self.expect(",")?;
        let slot = u32::try_from(self.locals.len()).expect("there are at most MACROS locals");
        self.locals.push(variable);
        let body = self.expression()?;
        let (mut condition, mut transform) = (Some(body), None);
        if quantifier == Quantifier::Map {
            transform = if self.accept(",") {
                Some(self.expression()?)
            } else {
                condition.take()
            };
        }
        self.expect(")")?;
        self.locals.pop();
        let children: Vec<NodeId> = [Some(range), condition, transform].into_iter().flatten().collect();
        let comprehension = Comprehension {
            quantifier,
            range,
            slot,
            condition,
            transform,
        };
        self.add(Kind::Comprehension(comprehension), offset, &children)
    }

    fn call(&mut self, found: Found, name: &str, mut arguments: Vec<NodeId>, offset: usize) -> Parsed {
        let function = match found {
            Found::Function(function) => function,
            Found::Nothing => {
                return Err(SyntaxError::new(
                    offset,
                    format!("there is no function {}", shown(name)),
                ));
            }
            Found::Arguments(expected) => {
                return Err(SyntaxError::new(offset, format!("{}() takes {expected}", name)));
            }
        };
        if function == Function::Matches {
            let pattern = arguments[1];
            let Kind::Constant(Constant::Text(text)) = self.arena.kind(pattern) else {
                return Err(SyntaxError::new(
                    offset,
                    "the pattern of matches() must be a literal string",
                ));
            };
            let pattern = Pattern::compile(text, self.arena.nodes[pattern as usize].offset as usize)?;
            self.patterns += pattern.size;
            if self.patterns > PATTERNS_COMPILED {
                return Err(SyntaxError::new(
                    offset,
                    "the regular expressions are too large together",
                ));
            }
            return self.add(Kind::Matches(arguments[0], pattern), offset, &arguments);
        }
        if function.is_variadic() && arguments.len() > 1 {
            let range = self.range(&arguments);
            arguments = vec![self.add(Kind::List(range), offset, &arguments)?];
        }
        let range = self.range(&arguments);
        self.add(Kind::Call(function, range), offset, &arguments)
    }

    /// The receiver, if any, and the arguments of a call, after the opening parenthesis.
    fn arguments(&mut self, receiver: Option<NodeId>) -> Result<Vec<NodeId>, SyntaxError> {
        let mut arguments: Vec<NodeId> = receiver.into_iter().collect();
        self.elements(")", false, |parser| {
            arguments.push(parser.expression()?);
            Ok(())
        })?;
        Ok(arguments)
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

    fn add(&mut self, kind: Kind, offset: usize, children: &[NodeId]) -> Parsed {
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

    fn range(&mut self, children: &[NodeId]) -> Range {
        let index = |length: usize| u32::try_from(length).expect("there are at most NODES children");
        let start = index(self.arena.children.len());
        self.arena.children.extend_from_slice(children);
        Range {
            start,
            end: index(self.arena.children.len()),
        }
    }

    fn peek(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    /// The next three tokens; the end repeats.
    fn following(&self) -> [&Token; 3] {
        let last = self.lexemes.len() - 1;
        [0, 1, 2].map(|ahead| &self.lexemes[(self.at + ahead).min(last)].token)
    }

    fn offset(&self) -> usize {
        self.lexemes[self.at].offset
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), SyntaxError> {
        if self.accept(symbol) {
            return Ok(());
        }
        Err(self.expected(&format!("`{symbol}`")))
    }

    fn expected(&self, what: &str) -> SyntaxError {
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

#[derive(Clone, Copy)]
enum Infix {
    Or,
    And,
    Other(Operator),
}

impl Infix {
    fn of(token: &Token) -> Option<Infix> {
        let symbol = match token {
            Token::Symbol(symbol) => symbol,
            Token::Word(word) if word == "in" => "in",
            _ => return None,
        };
        Some(match symbol {
            "||" => Infix::Or,
            "&&" => Infix::And,
            "==" => Infix::Other(Operator::Equal),
            "!=" => Infix::Other(Operator::NotEqual),
            "<" => Infix::Other(Operator::Less),
            "<=" => Infix::Other(Operator::LessOrEqual),
            ">" => Infix::Other(Operator::Greater),
            ">=" => Infix::Other(Operator::GreaterOrEqual),
            "in" => Infix::Other(Operator::In),
            "+" => Infix::Other(Operator::Add),
            "-" => Infix::Other(Operator::Subtract),
            "*" => Infix::Other(Operator::Multiply),
            "/" => Infix::Other(Operator::Divide),
            "%" => Infix::Other(Operator::Remainder),
            _ => return None,
        })
    }

    fn precedence(self) -> u8 {
        match self {
            Infix::Or => 1,
            Infix::And => 2,
            Infix::Other(operator) => match operator {
                Operator::Equal
                | Operator::NotEqual
                | Operator::Less
                | Operator::LessOrEqual
                | Operator::Greater
                | Operator::GreaterOrEqual
                | Operator::In => 3,
                Operator::Add | Operator::Subtract => 4,
                Operator::Multiply | Operator::Divide | Operator::Remainder => 5,
            },
        }
    }
}

fn quantifier(name: &str) -> Option<Quantifier> {
    Some(match name {
        "all" => Quantifier::All,
        "exists" => Quantifier::Exists,
        "exists_one" | "existsOne" => Quantifier::ExistsOne,
        "filter" => Quantifier::Filter,
        "map" => Quantifier::Map,
        _ => return None,
    })
}

fn integer(digits: u64, negative: bool) -> Option<i64> {
    let number = i128::from(digits);
    i64::try_from(if negative { -number } else { number }).ok()
}
