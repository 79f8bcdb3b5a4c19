-- All columns beside the records are for looking up: what a process acts on is in the records, which are signed.

-- Every writer of the tables below locks this row first. So writers take turns, and numbers are committed in their order: who
-- knows n has missed nothing up to n. `whole`: who knows less than this looks at everything.
CREATE TABLE change (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint  NOT NULL,
    whole  bigint  NOT NULL
);
INSERT INTO change (number, whole) VALUES (1, 1);

-- In each table: the number under which the row was last written.
CREATE TABLE private_key (
    usage     smallint         NOT NULL,
    public    bytea            NOT NULL,
    partition text COLLATE "C" NOT NULL,
    blob      bytea            NOT NULL,
    change    bigint           NOT NULL
);
-- By the hash: a public key may be longer than an index takes.
CREATE UNIQUE INDEX private_key_name ON private_key (usage, sha256(public));

CREATE TABLE partition (
    name    text COLLATE "C" PRIMARY KEY,
    version bigint           NOT NULL,
    record  bytea            NOT NULL,
    change  bigint           NOT NULL
);
CREATE INDEX partition_change ON partition (change);

-- No foreign key to `partition`: an imported or recovered epoch must be storable in any order.
CREATE TABLE epoch (
    id        bytea            PRIMARY KEY CHECK (octet_length(id) = 10),
    partition text COLLATE "C" NOT NULL,
    kind      smallint         NOT NULL CHECK (kind IN (0, 1, 2)),
    record    bytea            NOT NULL,
    confirmed boolean          NOT NULL,
    current   boolean          NOT NULL CHECK (NOT current OR kind IN (0, 1)),
    change    bigint           NOT NULL
);
-- One epoch to seal under, however many processes make one at the same time.
CREATE UNIQUE INDEX epoch_current ON epoch (partition, kind) WHERE current;
CREATE INDEX epoch_partition ON epoch (partition, id);
CREATE INDEX epoch_unconfirmed ON epoch (id) WHERE NOT confirmed;
CREATE INDEX epoch_change ON epoch (change);

CREATE TABLE tombstone (
    seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id     bytea  NOT NULL UNIQUE CHECK (octet_length(id) = 10),
    record bytea  NOT NULL,
    change bigint NOT NULL
);
CREATE INDEX tombstone_change ON tombstone (change);

-- The authority's directory; what is in `sealed` authenticates the columns beside it, but for `remaining`.
CREATE TABLE entry (
    kind      text COLLATE "C" NOT NULL,
    id        text COLLATE "C" NOT NULL,
    version   bigint           NOT NULL,
    expires   bigint           NOT NULL,
    remaining bigint           CHECK (remaining >= 0),
    sealed    bytea            NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX entry_expires ON entry (expires) WHERE expires > 0;

-- Lines are chained by their hashes; the number only orders them.
CREATE TABLE audit (
    number bigint PRIMARY KEY,
    line   bytea  NOT NULL
);
