//! What the controller hands to a worker.
