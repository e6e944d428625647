//! Texts and names without what does not count when they are compared (contract `studies.md` §4.5).
//!
//! Invariant: stored values and those asked for are folded by the same function.
//! Elsewhere: which attribute is compared how (`attributes`), forms of other values (`value`).

use icu_casemap::CaseMapper;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

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
    // Other blanks than the common one end as that.
    trim(&fold_inner_name(trim(text))).to_owned()
}

/// A part of a text that may end in blanks.
pub(super) fn fold_inner_text(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let canonical: String = text.nfd().filter(|c| *c != LAST_CHARACTER).collect();
    CaseMapper::new().fold_string(&canonical).nfc().collect()
}

/// A part of a name that may end in blanks. Characters that differ in width or as ligatures are the same.
pub(super) fn fold_inner_name(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let compatible: String = text.nfkd().filter(|c| *c != LAST_CHARACTER).collect();
    CaseMapper::new().fold_string(&compatible).nfkd().filter(|c| !is_accent(*c)).nfc().collect()
}

/// Marks without which a name is still the same word: accents, and the points of Hebrew, Arabic and Syriac.
/// Vowel signs, tones, viramas and the voicing of kana have other combining classes, and stay.
fn is_accent(c: char) -> bool {
    matches!(canonical_combining_class(c), 1 | 10..=36 | 200..=240)
}

/// Whether a character stands between words.
pub(super) fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '^' | '=' | '\0')
}

/// The words of a name; `^` and `=` count as blanks.
pub(super) fn words(name: &str) -> Vec<String> {
    fold_name(name).split(is_separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
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
    use proptest::prelude::*;

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
    fn case_is_folded_by_the_rules_of_unicode() {
        for (one, other) in [
            ("Straße", "STRASSE"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("ǅungla", "ǆUNGLA"),
            ("ᏣᎳᎩ", "ꮳꮃꭹ"),
            ("ОЛЬГА", "Ольга"),
            ("İ", "i\u{307}"),
            ("Å", "Å"),
        ] {
            assert_eq!(fold_text(one), fold_text(other), "{one} {other}");
            assert_eq!(fold_name(one), fold_name(other), "{one} {other}");
        }
        for (one, other) in [("ﬁ", "FI"), ("ＡＢ", "ab"), ("ﾔﾏﾀﾞ", "ヤマダ"), ("か\u{3099}", "が"), ("É", "e")]
        {
            assert_eq!(fold_name(one), fold_name(other), "{one} {other}");
        }
        for (one, other) in [("ＡＢ", "ab"), ("ﾔﾏﾀﾞ", "ヤマダ"), ("É", "e")] {
            assert_ne!(fold_text(one), fold_text(other), "{one} {other}");
        }
    }

    #[test]
    fn accents_and_points_do_not_count_and_other_marks_do() {
        for (one, other) in
            [("Nguyễn", "nguyen"), ("مُحَمَّد", "محمد"), ("שָׁלוֹם", "שלום"), ("Ёлкин", "елкин"), ("Ö̈zil", "ozil")]
        {
            assert_eq!(fold_name(one), fold_name(other), "{one} {other}");
        }
        // Vowel signs, virama, voicing, a Thai vowel and a Thai tone.
        for (one, other) in
            [("कुमार", "कमर"), ("शर्मा", "शरमा"), ("が", "か"), ("สุดา", "สดา"), ("ก่อ", "กอ"), ("김", "기")]
        {
            assert_ne!(fold_name(one), fold_name(other), "{one} {other}");
        }
        assert!(fold_name("김희중").starts_with(&fold_name("김희")));
    }

    proptest! {
        #[test]
        fn folding_folds_nothing_twice_and_knows_no_forms_of_normalization(text in "\\PC{0,16}|[a-zA-Zß-žΑ-ωЀ-ӿऀ-ॿ\u{300}-\u{345}ぁ-ヺｦ-ﾟ가-힣ᄀ-ᇿ]{0,8}") {
            for fold in [fold_text, fold_name] {
                let folded = fold(&text);
                prop_assert_eq!(&fold(&folded), &folded);
                prop_assert_eq!(&fold(&text.nfc().collect::<String>()), &folded);
                prop_assert_eq!(&fold(&text.nfd().collect::<String>()), &folded);
            }
            prop_assert_eq!(fold_name(&text.nfkc().collect::<String>()), fold_name(&text));
        }
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
