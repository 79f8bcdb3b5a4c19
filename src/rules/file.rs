//! The files as written. (interface; owner: rules)
