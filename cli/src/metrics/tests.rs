//! The metrics against their documents.
