//! Decisions as tables: given records, when a record, then outcome.
