//! Looking at and changing topics.
