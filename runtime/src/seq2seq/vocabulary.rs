//! Between text and numbers: text spelled in input symbols, output tokens as text.

use super::DecodeError;
use crate::model::Model;
use core::fmt;

/// Text as symbols of the vocabulary. Where several symbols fit, the longest is taken. The first character that no symbol
/// begins with ends it with [`DecodeError::UnknownText`].
#[derive(Clone, Copy, Debug)]
pub struct Spelling<'m, 't> {
    model: Model<'m>,
    /// Spelled in output tokens, not in input symbols.
    tokens: bool,
    text: &'t str,
    /// The rest of the text.
    rest: &'t str,
}

impl<'m, 't> Spelling<'m, 't> {
    /// Spells `text` in the symbols of `model`.
    ///
    /// # Errors
    /// [`DecodeError::NoSymbols`].
    pub fn new(model: Model<'m>, text: &'t str) -> Result<Self, DecodeError> {
        if model.symbols().len() == 0 {
            return Err(DecodeError::NoSymbols);
        }
        Ok(Self {
            model,
            tokens: false,
            text,
            rest: text,
        })
    }

    /// Spells `text` in the names of the output tokens of `model`.
    ///
    /// # Errors
    /// [`DecodeError::NoTokenNames`].
    pub fn of_tokens(model: Model<'m>, text: &'t str) -> Result<Self, DecodeError> {
        if model.tokens().len() == 0 {
            return Err(DecodeError::NoTokenNames);
        }
        Ok(Self {
            model,
            tokens: true,
            text,
            rest: text,
        })
    }

    /// Number and length of the longest name at the start of the rest.
    fn longest(&self, names: impl Iterator<Item = &'m str>) -> (usize, u16) {
        let mut longest = (0, 0);
        for (number, name) in (0u16..).zip(names) {
            if name.len() > longest.0 && self.rest.starts_with(name) {
                longest = (name.len(), number);
            }
        }
        longest
    }
}

impl Iterator for Spelling<'_, '_> {
    type Item = Result<u16, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let character = self.rest.chars().next()?;
        let (len, symbol) = match self.tokens {
            true => self.longest(self.model.tokens()),
            false => self.longest(self.model.symbols()),
        };
        let rest = self.rest.get(len..).unwrap_or("");
        if len == 0 {
            let before = self.text.len().saturating_sub(self.rest.len());
            let at = self.text.get(..before).unwrap_or("").chars().count();
            self.rest = "";
            return Some(Err(DecodeError::UnknownText { character, at }));
        }
        self.rest = rest;
        Some(Ok(symbol))
    }
}

/// Tokens as text: their names with the model's separator between them. Without a vocabulary
/// numbers are printed, with spaces between them.
#[derive(Clone, Copy, Debug)]
pub struct Text<'m, 't> {
    model: Model<'m>,
    tokens: &'t [u16],
}

/// `tokens` of `model`, to be printed.
pub fn text<'m, 't>(model: Model<'m>, tokens: &'t [u16]) -> Text<'m, 't> {
    Text { model, tokens }
}

impl fmt::Display for Text<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, &token) in self.tokens.iter().enumerate() {
            if at > 0 {
                let named = self.model.tokens().len() > 0;
                f.write_str(if named { self.model.separator() } else { " " })?;
            }
            match self.model.token_name(token) {
                Some(name) => f.write_str(name)?,
                None => write!(f, "{token}")?,
            }
        }
        Ok(())
    }
}
