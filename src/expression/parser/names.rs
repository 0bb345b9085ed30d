//! What a name stands for: a keyword, a variable, a type, a function, a macro with a variable of its own.

use super::{KEYWORDS, Parsed, Parser};
use crate::expression::{
    ast::{Comprehension, Constant, Kind, NodeId, Quantifier},
    error::{SyntaxError, shown},
    functions::{Found, Function},
    lexer::Token,
    limits::{MACROS, PATTERNS_COMPILED},
    pattern::Pattern,
};

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

impl Parser {
    /// A keyword, a variable, a type or a call of a function.
    pub(super) fn word(&mut self) -> Parsed {
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
    pub(super) fn comprehension(&mut self, quantifier: Quantifier, name: &str, range: NodeId, offset: usize) -> Parsed {
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

    pub(super) fn call(&mut self, found: Found, name: &str, mut arguments: Vec<NodeId>, offset: usize) -> Parsed {
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
    pub(super) fn arguments(&mut self, receiver: Option<NodeId>) -> Result<Vec<NodeId>, SyntaxError> {
        let mut arguments: Vec<NodeId> = receiver.into_iter().collect();
        self.elements(")", false, |parser| {
            arguments.push(parser.expression()?);
            Ok(())
        })?;
        Ok(arguments)
    }
}

/// The macro of that name, written behind a list or a map.
pub(super) fn quantifier(name: &str) -> Option<Quantifier> {
    Some(match name {
        "all" => Quantifier::All,
        "exists" => Quantifier::Exists,
        "exists_one" | "existsOne" => Quantifier::ExistsOne,
        "filter" => Quantifier::Filter,
        "map" => Quantifier::Map,
        _ => return None,
    })
}
