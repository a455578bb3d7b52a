//! Splits a label selector into tokens.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Identifier,
    Bang,
    Comma,
    Open,
    Close,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Unknown,
}

const SYMBOLS: [(&str, Token); 9] = [
    ("==", Token::DoubleEquals),
    ("!=", Token::NotEquals),
    ("=", Token::Equals),
    ("!", Token::Bang),
    (",", Token::Comma),
    ("(", Token::Open),
    (")", Token::Close),
    (">", Token::Greater),
    ("<", Token::Less),
];

pub(super) struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The next token where a key or value stands: `in` and `notin` are ordinary names there.
    pub(super) fn next_value(&mut self) -> (Token, String) {
        match self.next_operator() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    /// [`Lexer::next_value`] without taking it.
    pub(super) fn peek_value(&self) -> (Token, String) {
        Lexer { rest: self.rest }.next_value()
    }

    /// The next token where an operator stands.
    pub(super) fn next_operator(&mut self) -> (Token, String) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if self.rest.is_empty() {
            return (Token::End, String::new());
        }
        if let Some((symbol, token)) = SYMBOLS.iter().find(|(symbol, _)| self.rest.starts_with(symbol)) {
            self.rest = &self.rest[symbol.len()..];
            return (*token, (*symbol).to_owned());
        }
        let special = |c: char| "=!(),>< \t\r\n".contains(c);
        let end = self.rest.find(special).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let token = match word {
            "in" => Token::In,
            "notin" => Token::NotIn,
            "" => Token::Unknown,
            _ => Token::Identifier,
        };
        (token, word.to_owned())
    }
}
