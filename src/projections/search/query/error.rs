//! Why a search request is no search.
//!
//! Invariant: an error names the parameter or attribute as the client wrote it.
//! Elsewhere: when which is given (`query`), status codes (`http`).

/// Why a search request is no search. The texts name what the client wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither a keyword nor a tag.
    #[error("'{0}' is neither a parameter, nor the keyword of an attribute, nor a tag of 8 hex digits")]
    UnknownParameter(String),
    /// A known attribute that cannot be a filter here.
    #[error("'{0}' cannot be searched for on this resource")]
    NotQueryable(String),
    /// The same key twice.
    #[error("'{0}' is given more than once")]
    Duplicate(String),
    /// The same attribute as keyword and as tag.
    #[error("'{0}' is given more than once, in different forms")]
    DuplicateInOtherForm(String),
    /// No value.
    #[error("'{0}' has no value")]
    EmptyValue(String),
    /// A value that is none of its VR.
    #[error("'{value}' is no value for '{attribute}': {form}")]
    BadValue {
        /// As the client wrote it.
        attribute: String,
        /// As the client wrote it.
        value: String,
        /// What is allowed.
        form: &'static str,
    },
    /// A range without ends, or with its ends the wrong way round.
    #[error("'{value}' is no range for '{attribute}': at least one end, the earlier first")]
    BadRange {
        /// As the client wrote it.
        attribute: String,
        /// As the client wrote it.
        value: String,
    },
    /// A quotation mark in a fuzzy name.
    #[error("the value of '{0}' holds a quotation mark, which fuzzy matching does not allow")]
    QuotationMark(String),
    /// A path into a sequence.
    #[error("'{0}' is a path into a sequence, which is not supported")]
    SequencePath(String),
    /// `limit` out of bounds.
    #[error("'{parameter}={value}' is not allowed: a number from 1 to 200")]
    BadLimit {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// `offset` out of bounds.
    #[error("'{parameter}={value}' is not allowed: a number from 0")]
    BadOffset {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// `fuzzymatching` none of its words.
    #[error("'{parameter}={value}' is not allowed: true, false or any")]
    BadFuzzyMatching {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// An attribute to include that nobody knows.
    #[error("'{value}' in '{parameter}' is neither the keyword of an attribute nor a tag of 8 hex digits")]
    BadIncludeField {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// An attribute that was added, and is not asked for now.
    #[error("queries on '{0}' are disabled")]
    Disabled(String),
    /// A longer list or text than is answered.
    #[error("'{attribute}' has more than {most} {what}")]
    TooMany {
        /// As the client wrote it.
        attribute: String,
        /// So many are allowed.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// A kind of matching that is not done.
    #[error("'{parameter}={value}' is not supported: only false is")]
    Unsupported {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// An attribute to order by that is not of the answer, or is named twice.
    #[error("'{value}' in '{parameter}' is nothing this answer can be ordered by, or is named twice")]
    BadOrder {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// A parameter of pages where matches are counted.
    #[error("'{0}' has no meaning for a count")]
    NotForCounts(String),
}
