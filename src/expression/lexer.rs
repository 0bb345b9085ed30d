//! From text to tokens. Knows how literals are written; knows no grammar.

use super::error::SyntaxError;

/// A token and where it begins, in characters.
#[derive(Debug)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) offset: usize,
}

#[derive(Debug, PartialEq)]
pub(super) enum Token {
    /// A word: a name, a keyword or a reserved word.
    Word(String),
    /// A name in backquotes, which may only follow a dot.
    Quoted(String),
    /// Digits without a sign; whether they fit is the parser's question.
    Integer(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Symbol(&'static str),
    End,
}

/// Longer ones first, so that `<=` is not read as `<` and `=`.
const SYMBOLS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "+", "-", "*", "/", "%", "<",
    ">", "!", "=",
];

/// Cuts a source text into tokens; the last one is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Lexeme>, SyntaxError> {
    let mut lexer = Lexer {
        chars: source.chars().collect(),
        at: 0,
    };
    let mut lexemes = Vec::new();
    loop {
        lexer.skip_blank();
        let offset = lexer.at;
        let token = lexer.token()?;
        let end = token == Token::End;
        lexemes.push(Lexeme { token, offset });
        if end {
            return Ok(lexemes);
        }
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn is_digit(&self, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|c| c.is_ascii_digit())
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek(0) {
            if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c') {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn token(&mut self) -> Result<Token, SyntaxError> {
        let Some(first) = self.peek(0) else {
            return Ok(Token::End);
        };
        if let Some(token) = self.string()? {
            return Ok(token);
        }
        if first.is_ascii_digit() || (first == '.' && self.is_digit(1)) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Token::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')));
        }
        if first == '`' {
            return self.quoted();
        }
        match SYMBOLS
            .iter()
            .find(|symbol| symbol.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c)))
        {
            Some(&"=") => Err(SyntaxError::new(self.at, "`=` is no operator: compare with `==`")),
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Token::Symbol(symbol))
            }
            None => Err(SyntaxError::new(self.at, format!("unexpected character {first:?}"))),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn quoted(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '));
        if name.is_empty() || self.peek(0) != Some('`') {
            return Err(SyntaxError::new(
                start,
                "expected a name of letters, digits and `_.-/ ` up to a closing backquote",
            ));
        }
        self.at += 1;
        Ok(Token::Quoted(name))
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            return self.integer(start, u64::from_str_radix(&digits, 16).ok());
        }
        let mut text = self.take_while(|c| c.is_ascii_digit());
        let mut double = false;
        if self.peek(0) == Some('.') && self.is_digit(1) {
            double = true;
            text.push('.');
            self.at += 1;
            text += &self.take_while(|c| c.is_ascii_digit());
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.is_digit(1 + sign) {
                double = true;
                text.extend(&self.chars[self.at..=self.at + sign]);
                self.at += 1 + sign;
                text += &self.take_while(|c| c.is_ascii_digit());
            }
        }
        if !double {
            return self.integer(start, text.parse().ok());
        }
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        let number = number.ok_or_else(|| SyntaxError::new(start, "the number is out of range"))?;
        self.end_of_number(start)?;
        Ok(Token::Double(number))
    }

    /// An `u` after the digits is taken and means nothing: there is one type of integers.
    fn integer(&mut self, start: usize, number: Option<u64>) -> Result<Token, SyntaxError> {
        let number = number.ok_or_else(|| SyntaxError::new(start, "the number is out of range"))?;
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
        }
        self.end_of_number(start)?;
        Ok(Token::Integer(number))
    }

    fn end_of_number(&self, start: usize) -> Result<(), SyntaxError> {
        match self.peek(0) {
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => {
                Err(SyntaxError::new(start, format!("a number cannot be followed by {c:?}")))
            }
            _ => Ok(()),
        }
    }

    /// A string or bytes literal, if one begins here: prefix, quotes, content.
    fn string(&mut self) -> Result<Option<Token>, SyntaxError> {
        let start = self.at;
        let (mut raw, mut bytes, mut prefix) = (false, false, 0);
        loop {
            match self.peek(prefix) {
                Some('r' | 'R') if !raw => raw = true,
                Some('b' | 'B') if !bytes && !raw => bytes = true,
                Some('"' | '\'') => break,
                _ => return Ok(None),
            }
            prefix += 1;
        }
        self.at += prefix;
        let quote = self.chars[self.at];
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut content = Content {
            bytes: Vec::new(),
            of_bytes: bytes,
        };
        loop {
            let Some(c) = self.peek(0) else {
                return Err(SyntaxError::new(start, "the string is not closed"));
            };
            if (0..width).all(|i| self.peek(i) == Some(quote)) {
                self.at += width;
                break;
            }
            if !triple && matches!(c, '\n' | '\r') {
                return Err(SyntaxError::new(
                    start,
                    "the string is not closed on its line: write \\n or use three quotes",
                ));
            }
            self.at += 1;
            if c == '\\' && !raw {
                self.escape(&mut content)?;
            } else {
                content.push(c);
            }
        }
        if bytes {
            return Ok(Some(Token::Bytes(content.bytes)));
        }
        let text = String::from_utf8(content.bytes).expect("a text is built from characters only");
        Ok(Some(Token::Text(text)))
    }

    /// What follows a backslash.
    fn escape(&mut self, content: &mut Content) -> Result<(), SyntaxError> {
        let start = self.at - 1;
        let unknown = || {
            SyntaxError::new(
                start,
                "unknown escape: one of \\\\ \\' \\\" \\` \\? \\a \\b \\f \\n \\r \\t \\v, \\x and 2, \\u and 4, \\U and 8 hexadecimal digits, or 3 octal digits",
            )
        };
        let c = self.peek(0).ok_or_else(unknown)?;
        self.at += 1;
        match c {
            '\\' | '\'' | '"' | '`' | '?' => content.push(c),
            'a' => content.push('\x07'),
            'b' => content.push('\x08'),
            'f' => content.push('\x0c'),
            'n' => content.push('\n'),
            'r' => content.push('\r'),
            't' => content.push('\t'),
            'v' => content.push('\x0b'),
            'x' | 'X' => {
                let code = self.digits(2, 16).ok_or_else(unknown)?;
                content.push_code(code).ok_or_else(unknown)?;
            }
            'u' if !content.of_bytes => {
                let code = self.digits(4, 16).ok_or_else(unknown)?;
                content.push_code(code).ok_or_else(unknown)?;
            }
            'U' if !content.of_bytes => {
                let code = self.digits(8, 16).ok_or_else(unknown)?;
                content.push_code(code).ok_or_else(unknown)?;
            }
            '0'..='3' => {
                self.at -= 1;
                let code = self.digits(3, 8).ok_or_else(unknown)?;
                content.push_code(code).ok_or_else(unknown)?;
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let mut code = 0u32;
        for _ in 0..count {
            code = code.checked_mul(radix)? + self.peek(0)?.to_digit(radix)?;
            self.at += 1;
        }
        Some(code)
    }
}

/// The content of a literal while it is read. In bytes an escape of a number is one byte, in a text one character.
struct Content {
    bytes: Vec<u8>,
    of_bytes: bool,
}

impl Content {
    fn push(&mut self, c: char) {
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn push_code(&mut self, code: u32) -> Option<()> {
        if self.of_bytes {
            self.bytes.push(u8::try_from(code).ok()?);
        } else {
            self.push(char::from_u32(code)?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(source: &str) -> Token {
        let mut lexemes = tokens(source).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(lexemes.len(), 2, "{source}");
        lexemes.remove(0).token
    }

    #[test]
    fn strings_are_read_in_every_form() {
        for (source, text) in [
            (r#"'a"b'"#, "a\"b"),
            (r#""a'b""#, "a'b"),
            ("'''a'\n''b'''", "a'\n''b"),
            (r"r'\n'", "\\n"),
            (r"'\n\t\\\'\x41\u00e9\U0001F600\101'", "\n\t\\'Aé😀A"),
            ("''", ""),
        ] {
            assert_eq!(one(source), Token::Text(text.into()), "{source}");
        }
        assert_eq!(one(r"b'\xff\303é'"), Token::Bytes(vec![0xff, 0xc3, 0xc3, 0xa9]));
        assert_eq!(one(r"bR'\x'"), Token::Bytes(b"\\x".to_vec()));
    }

    #[test]
    fn numbers_are_read_in_every_form() {
        for (source, number) in [
            ("0", 0),
            ("42", 42),
            ("0xFf", 255),
            ("7u", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(one(source), Token::Integer(number), "{source}");
        }
        for (source, number) in [("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("2.5E-1", 0.25)] {
            assert_eq!(one(source), Token::Double(number), "{source}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_where_it_stands() {
        for (source, offset) in [
            ("'a", 0),
            ("é", 0),
            ("1 = 2", 2),
            ("'\\q'", 1),
            ("1x", 0),
            ("'\\ud800'", 1),
            ("a `b", 2),
            ("1e999", 0),
            ("'é' #", 4),
        ] {
            assert_eq!(
                tokens(source).map(|t| t.len()).map_err(|e| e.offset),
                Err(offset),
                "{source}"
            );
        }
    }
}
