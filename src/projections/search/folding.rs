//! The form in which texts are compared (contract `studies.md` §4.5): one function for stored values and
//! for those asked for.
//!
//! Invariant: two values are equal for a query exactly when their folded forms are.
//! Elsewhere: which attribute is folded how (`attributes::Kind`).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::attributes::Kind;

/// Greater than any character of a folded text; closes the range of texts with a common beginning.
pub(super) const LAST_CHARACTER: char = '\u{10FFFF}';

/// Without trailing blanks and NULs.
pub(super) fn trim(text: &str) -> &str {
    text.trim_end_matches([' ', '\0'])
}

/// The form of a whole value in which it is compared.
pub(super) fn fold(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Text => fold_text(text),
        Kind::Name => fold_name(text),
        Kind::Date => trim(text).to_owned(),
    }
}

/// Case does not count; accents do.
pub(super) fn fold_text(text: &str) -> String {
    let text = trim(text);
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).map(one_form).filter(|c| *c != LAST_CHARACTER).nfc().collect()
}

/// Neither case nor accents count.
pub(super) fn fold_name(text: &str) -> String {
    let text = trim(text);
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

/// Whether `text` is a calendar date `yyyyMMdd`.
pub(super) fn is_date(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let calendar = || {
        let month = time::Month::try_from(u8::try_from(number(4..6)?).ok()?).ok()?;
        let day = u8::try_from(number(6..8)?).ok()?;
        time::Date::from_calendar_date(i32::from(number(0..4)?), month, day).ok()
    };
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) && calendar().is_some()
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
    fn dates_are_of_the_calendar() {
        for yes in ["20240229", "00010101", "99991231"] {
            assert!(is_date(yes), "{yes}");
        }
        for no in ["20230229", "2024022", "202402290", "20241301", "2024-1-1", "+0240101", "２0240229"] {
            assert!(!is_date(no), "{no}");
        }
    }
}
