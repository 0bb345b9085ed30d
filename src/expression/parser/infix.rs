//! Operators between two terms, and how tightly they bind.

use crate::expression::{lexer::Token, operators::Operator};

/// An operator between two terms.
#[derive(Clone, Copy)]
pub(super) enum Infix {
    Or,
    And,
    Other(Operator),
}

impl Infix {
    /// The operator that a token is.
    pub(super) fn of(token: &Token) -> Option<Infix> {
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

    /// Higher binds tighter; 1 is the lowest.
    pub(super) fn precedence(self) -> u8 {
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
