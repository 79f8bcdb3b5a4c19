-- All columns beside the records are for looking up: what a process acts on is in the records, which are signed.
CREATE TABLE private_key (
    usage     INTEGER NOT NULL,
    public    BLOB    NOT NULL,
    partition TEXT    NOT NULL,
    blob      BLOB    NOT NULL,
    PRIMARY KEY (usage, public)
) STRICT, WITHOUT ROWID;

CREATE TABLE partition (
    name    TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record  BLOB    NOT NULL
) STRICT;

-- No foreign key to `partition`: an imported or recovered epoch must be storable in any order.
CREATE TABLE epoch (
    id        BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 10),
    partition TEXT    NOT NULL,
    kind      INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),
    record    BLOB    NOT NULL,
    confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1)),
    current   INTEGER NOT NULL CHECK (current IN (0, 1)),
    CHECK (current = 0 OR kind IN (0, 1))
) STRICT;

-- One epoch to seal under, however many processes make one at the same time.
CREATE UNIQUE INDEX epoch_current ON epoch (partition, kind) WHERE current = 1;
CREATE INDEX epoch_partition ON epoch (partition, id);
CREATE INDEX epoch_unconfirmed ON epoch (id) WHERE confirmed = 0;

CREATE TABLE tombstone (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    id     BLOB    NOT NULL UNIQUE CHECK (length(id) = 10),
    record BLOB    NOT NULL
) STRICT;
