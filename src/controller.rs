//! Decides, touches no data: observe, decide, apply.
