//! Rules across objects, pure.
