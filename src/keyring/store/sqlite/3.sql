-- Every writer of keys, partitions, epochs and tombstones counts this number up in the same transaction: who knows n has missed
-- nothing up to n. The directory and the audit log do not. `whole`: who knows less than this looks at everything.
CREATE TABLE change (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    whole  INTEGER NOT NULL
) STRICT;
INSERT INTO change (one, number, whole) VALUES (1, 1, 1);

-- In each table: the number under which the row was last written.
ALTER TABLE private_key ADD COLUMN change INTEGER NOT NULL DEFAULT 1;
ALTER TABLE partition ADD COLUMN change INTEGER NOT NULL DEFAULT 1;
ALTER TABLE epoch ADD COLUMN change INTEGER NOT NULL DEFAULT 1;
ALTER TABLE tombstone ADD COLUMN change INTEGER NOT NULL DEFAULT 1;
CREATE INDEX partition_change ON partition (change);
CREATE INDEX epoch_change ON epoch (change);
CREATE INDEX tombstone_change ON tombstone (change);
