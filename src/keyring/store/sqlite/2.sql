-- The authority's directory; what is in `sealed` authenticates the columns beside it, but for `remaining`.
CREATE TABLE entry (
    kind      TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    remaining INTEGER CHECK (remaining >= 0),
    sealed    BLOB    NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX entry_expires ON entry (expires) WHERE expires > 0;

-- Lines are chained by their hashes; the number only orders them.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    line   BLOB    NOT NULL
) STRICT;
