//! Copies and compares objects: ranges, the two-sided merge, the copier.
