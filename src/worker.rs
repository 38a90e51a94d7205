//! Moves data, knows one task.
