//! What reaches the terminal: names of a model may hold what drives one.

/// Text without control characters, but for the ends of lines, and without characters that turn the direction of the text.
pub fn shown(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c.is_control() && c != '\n' || turns(c) {
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
        assert_eq!(super::shown("x\u{202e}y"), "x\u{fffd}y");
    }
}
