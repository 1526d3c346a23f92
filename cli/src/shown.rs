//! What reaches the terminal: names of a model may hold what drives one.

use std::io::Write;

/// Text without control characters, but for the ends of lines, and without characters that turn the direction of the text.
pub fn shown(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c.is_control() && c != '\n' || turns(c) {
        true => '\u{fffd}',
        false => c,
    };
    text.chars().map(shown).collect()
}

/// Most characters of an error: a file may have names of any length in it.
const LONGEST: usize = 2000;

/// An error as it is printed: [`shown`], and no longer than anyone reads.
pub fn error(text: &str) -> String {
    let mut chars = text.chars();
    let kept: String = chars.by_ref().take(LONGEST).collect();
    match chars.count() {
        0 => shown(&kept),
        more => format!("{} … and {more} characters more", shown(&kept)),
    }
}

/// Writes to standard output. Where that cannot be written, a full disk behind it say, the program ends with an error.
pub fn print(text: &str) {
    let written = std::io::stdout().write_all(text.as_bytes());
    if let Err(error) = written.and_then(|()| std::io::stdout().flush()) {
        eprintln!("error: standard output: {error}");
        attn_converter::output::abandon();
        std::process::exit(1);
    }
}

/// Prints a line for the user; see [`shown()`].
macro_rules! say {
    ($($text:tt)*) => {
        $crate::shown::print(&(format!("{}\n", $crate::shown::shown(&format!($($text)*)))))
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

    #[test]
    fn a_long_error_is_cut() {
        let text = |len: usize| "é\u{1b}".repeat(len / 2);
        assert_eq!(super::error(&text(2000)).chars().count(), 2000);
        let cut = super::error(&text(2600));
        assert!(cut.starts_with("é\u{fffd}é"));
        assert!(cut.ends_with(" … and 600 characters more"), "{cut}");
    }
}
