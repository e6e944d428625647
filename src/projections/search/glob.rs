//! Wildcards (PS3.4 C.2.2.2.4): `*` stands for any run of characters, `?` for one.
//!
//! A pattern is cut at its wildcards before its texts are folded, and compared with folded values; `?` is one
//! character of the folded value. Runs of `*` are one.
//! Invariant: a match takes at most the pattern's length times the value's steps, and no memory.
//! Elsewhere: which attributes take wildcards (`attributes`), what a name is compared with (`matching`).

use super::attributes::Compared;
use super::folding::{fold_inner_name, fold_inner_text};

/// Longest pattern, in characters. Values are no longer.
pub(super) const LONGEST_PATTERN: usize = 1024;

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    /// What stands between `*`; the first begins the value, the last ends it.
    pieces: Vec<Piece>,
}

/// Folded characters; `None` is a `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece(Vec<Option<char>>);

/// Whether a value holds a wildcard.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

impl Glob {
    /// The pattern of a value asked for; `None` when it is longer than [`LONGEST_PATTERN`].
    pub(super) fn parse(compared: Compared, text: &str) -> Option<Self> {
        if text.chars().count() > LONGEST_PATTERN {
            return None;
        }
        let is_name = compared == Compared::Name;
        let text = match is_name {
            // As of values, what ends a group and does not count is left out.
            true => text
                .split('=')
                .map(|group| group.trim_end_matches(['^', ' ', '\0']))
                .collect::<Vec<_>>()
                .join("="),
            false => text.trim_end_matches([' ', '\0']).to_owned(),
        };
        let text = if is_name { text.trim_end_matches('=') } else { &text };
        let fold = if is_name { fold_inner_name } else { fold_inner_text };
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in text.split('*') {
            let mut folded = Vec::new();
            for (at, literal) in piece.split('?').enumerate() {
                if at > 0 {
                    folded.push(None);
                }
                folded.extend(fold(literal).chars().map(Some));
            }
            pieces.push(Piece(folded));
        }
        // Nothing between two `*`.
        let last = pieces.len() - 1;
        let mut at = 0;
        pieces.retain(|piece| {
            at += 1;
            at == 1 || at == last + 1 || !piece.0.is_empty()
        });
        Some(Self { pieces })
    }

    /// Whether every value matches, absent ones included.
    pub(super) fn is_anything(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.iter().all(|piece| piece.0.is_empty())
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// What every match begins with.
    pub(super) fn prefix(&self) -> String {
        self.pieces[0].0.iter().map_while(|c| *c).collect()
    }

    /// Whether the pattern itself holds this character, not a wildcard that may stand for it.
    pub(super) fn holds(&self, wanted: char) -> bool {
        self.pieces.iter().any(|piece| piece.0.contains(&Some(wanted)))
    }

    /// Whether a folded value matches.
    pub(super) fn matches(&self, value: &str) -> bool {
        let [first, between @ ..] = self.pieces.as_slice() else { return false };
        let Some(mut rest) = first.begins(value) else { return false };
        let Some((last, between)) = between.split_last() else { return rest.is_empty() };
        for piece in between {
            let Some(after) = piece.after_first(rest) else { return false };
            rest = after;
        }
        last.ends(rest)
    }
}

impl Piece {
    pub(super) fn characters(&self) -> &[Option<char>] {
        &self.0
    }

    /// What follows the piece at the beginning of `text`.
    fn begins<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut rest = text.chars();
        for wanted in &self.0 {
            let found = rest.next()?;
            if wanted.is_some_and(|wanted| wanted != found) {
                return None;
            }
        }
        Some(rest.as_str())
    }

    /// What follows the first place in `text` where the piece stands.
    fn after_first<'t>(&self, text: &'t str) -> Option<&'t str> {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.filter_map(|at| self.begins(&text[at..])).next()
    }

    fn ends(&self, text: &str) -> bool {
        let Some(before) = text.chars().count().checked_sub(self.0.len()) else { return false };
        let at = text.char_indices().nth(before).map_or(text.len(), |(at, _)| at);
        self.begins(&text[at..]).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(pattern: &str) -> Glob {
        Glob::parse(Compared::Text, pattern).unwrap()
    }

    #[test]
    fn wildcards_stand_for_runs_and_for_single_characters() {
        for (pattern, value, wanted) in [
            ("ab*", "ab", true),
            ("ab*", "abc", true),
            ("ab*", "cab", false),
            ("*ab", "cab", true),
            ("*ab", "abc", false),
            ("*ab*", "cabd", true),
            ("a*b", "ab", true),
            ("a*b", "aab", true),
            ("a*a", "a", false),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "acb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "ö", true),
            ("??", "ö", false),
            ("*?b?*", "abc", true),
            ("*?b?*", "ab", false),
            ("a**b", "ab", true),
            ("AB* ", "abc", true),
            ("a b*", "a bc", true),
            ("ab *", "abc", false),
            ("ab*c d", "abxc d", true),
            ("***", "", true),
            ("*", "x", true),
            ("?", "", false),
            ("MÜ*", "mu\u{308}ller", false),
            ("STRASSE*", "strasse 1", true),
        ] {
            assert_eq!(text(pattern).matches(value), wanted, "{pattern} {value}");
        }
        for anything in ["*", "**", "* "] {
            assert!(text(anything).is_anything(), "{anything}");
        }
        for something in ["?", "*?", "", "a*"] {
            assert!(!text(something).is_anything(), "{something}");
        }
    }

    #[test]
    fn patterns_of_names_are_folded_and_end_as_names_do() {
        let name = |pattern: &str| Glob::parse(Compared::Name, pattern).unwrap();
        assert!(name("MÜL*^").matches("muller"));
        assert!(name("*山^==").matches("山"));
        assert_eq!(name("DÖ?^J*").prefix(), "do");
        assert!(name("a=*").holds('=') && !name("a*").holds('='));
        // A wildcard in full width is a character like others, and folded to no wildcard.
        assert!(!name("a＊").matches("abc"));
    }

    #[test]
    fn a_pattern_has_a_longest_length() {
        assert!(Glob::parse(Compared::Text, &"é".repeat(LONGEST_PATTERN)).is_some());
        assert_eq!(Glob::parse(Compared::Text, &"*".repeat(LONGEST_PATTERN + 1)), None);
    }

    /// The textbook's way, by trying everything.
    fn tried(pattern: &[char], value: &[char]) -> bool {
        match (pattern.split_first(), value.split_first()) {
            (None, _) => value.is_empty(),
            (Some(('*', rest)), _) => (0..=value.len()).any(|at| tried(rest, &value[at..])),
            (Some((wanted, rest)), Some((found, left))) => {
                (*wanted == '?' || wanted == found) && tried(rest, left)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn what_matches_is_what_trying_everything_finds(pattern in "[ab*?]{0,8}", value in "[ab]{0,8}") {
            let wanted = tried(&pattern.chars().collect::<Vec<_>>(), &value.chars().collect::<Vec<_>>());
            prop_assert_eq!(text(&pattern).matches(&value), wanted);
        }
    }
}
