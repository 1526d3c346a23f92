//! What reaches the terminal: names of a model may hold what drives one.

/// Text without control characters, but for the ends of lines.
pub fn shown(text: &str) -> String {
    let shown = |c: char| match c.is_control() && c != '\n' {
        true => '\u{fffd}',
        false => c,
    };
    text.chars().map(shown).collect()
}

/// Prints a line for the user; see [`shown()`].
macro_rules! say {
    ($($text:tt)*) => {
        println!("{}", $crate::shown::shown(&format!($($text)*)))
    };
}

pub(crate) use say;

#[cfg(test)]
mod tests {
    #[test]
    fn control_characters_are_not_printed() {
        assert_eq!(
            super::shown("a\u{1b}[31mb\nc\r"),
            "a\u{fffd}[31mb\nc\u{fffd}"
        );
    }
}
