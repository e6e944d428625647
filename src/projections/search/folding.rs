//! Texts and names without what does not count when they are compared (contract `studies.md` §4.5).
//!
//! Invariant: stored values and those asked for are folded by the same function.
//! Elsewhere: which attribute is compared how (`attributes`), forms of other values (`value`).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Greater than any character of a folded text; closes the range of texts with a common beginning.
pub(super) const LAST_CHARACTER: char = '\u{10FFFF}';

/// Without trailing blanks and NULs.
pub(super) fn trim(text: &str) -> &str {
    text.trim_end_matches([' ', '\0'])
}

/// Case does not count; accents do. Neither do blanks at the end.
pub(super) fn fold_text(text: &str) -> String {
    fold_inner_text(trim(text))
}

/// Neither case nor accents count, nor blanks at the end.
pub(super) fn fold_name(text: &str) -> String {
    fold_inner_name(trim(text))
}

/// A part of a text that may end in blanks.
pub(super) fn fold_inner_text(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).map(one_form).filter(|c| *c != LAST_CHARACTER).nfc().collect()
}

/// A part of a name that may end in blanks.
pub(super) fn fold_inner_name(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let bare = text.nfd().filter(|c| !is_combining_mark(*c) && *c != LAST_CHARACTER);
    bare.flat_map(char::to_lowercase).map(one_form).filter(|c| !is_combining_mark(*c)).nfc().collect()
}

/// The one small letter with two forms.
fn one_form(c: char) -> char {
    if c == 'ς' { 'σ' } else { c }
}

/// The words of a name; `^` and `=` count as blanks.
pub(super) fn words(name: &str) -> Vec<String> {
    let blank = |c: char| c.is_whitespace() || matches!(c, '^' | '=' | '\0');
    fold_name(name).split(blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whether `wanted` stand in `name` side by side and in order, each as the beginning of a word. No words
/// stand nowhere.
pub(super) fn words_stand_in(wanted: &[String], name: &str) -> bool {
    let words = words(name);
    let begins = |(word, wanted): (&String, &String)| word.starts_with(wanted.as_str());
    !wanted.is_empty() && words.windows(wanted.len()).any(|run| run.iter().zip(wanted).all(begins))
}

/// Whether each of `wanted` begins a word of `name`, wherever it stands. No words stand nowhere.
pub(super) fn words_stand_anywhere_in(wanted: &[String], name: &str) -> bool {
    let words = words(name);
    let stands = |wanted: &String| words.iter().any(|word| word.starts_with(wanted.as_str()));
    !wanted.is_empty() && wanted.iter().all(stands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ignore_case_and_accents_and_texts_only_case() {
        assert_eq!(fold_name("MÜLLER^Renée\0 "), "muller^renee");
        assert_eq!(fold_name("Mu\u{308}ller"), fold_name("müLLer"));
        assert_eq!(fold_name("İZMİR"), "izmir");
        assert_eq!(fold_name("ΟΔΥΣΣΕΥΣ"), fold_name("Οδυσσεύς"));
        assert_eq!(fold_text("MÜLLER  "), "müller");
        assert_ne!(fold_text("müller"), fold_text("muller"));
        assert_eq!(fold_text("mu\u{308}ller"), fold_text("müller"));
        assert_eq!(fold_name("김희중"), "김희중");
    }

    #[test]
    fn words_stand_side_by_side_in_order() {
        let stands = |query: &str| words_stand_in(&words(query), "John^Doe");
        for yes in ["joh", "do", "jo do", "JOHN DOE", "Jöhn", "john^d"] {
            assert!(stands(yes), "{yes}");
        }
        for no in ["doe jo", "ohn", "oe", "john doe x", "^", "jo jo"] {
            assert!(!stands(no), "{no}");
        }
        assert!(words_stand_in(&words("tarou 山"), "Yamada^Tarou=山田^太郎"));
        assert!(!words_stand_in(&words("yamada 山"), "Yamada^Tarou=山田^太郎"));
    }

    #[test]
    fn words_stand_anywhere() {
        let stands = |query: &str| words_stand_anywhere_in(&words(query), "John^Doe=山田");
        for yes in ["joh", "doe jo", "DÖE john", "山 j", "do jo do"] {
            assert!(stands(yes), "{yes}");
        }
        for no in ["doe x", "ohn", "^", ""] {
            assert!(!stands(no), "{no}");
        }
    }
}
