//! What Farshore writes beside the copies.
