//! One integration binary: each further one would link the whole library again.
