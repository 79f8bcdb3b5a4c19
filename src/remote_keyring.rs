//! (interface; owner: remote) The store of a sidecar that has no access to the database: an authority's `/keyring/v1`.
