-- Leaving: what a customer takes along, and the destruction of all that is left.

-- A file of all of a customer's mail. It is measured once, and made again from any place on whenever it is
-- asked for: no content is kept twice.
CREATE TABLE export (
    customer_id integer NOT NULL REFERENCES customer,
    format text NOT NULL CHECK (format IN ('zip', 'mbox')),
    asked_at timestamptz NOT NULL DEFAULT now(),
    wanted bigint NOT NULL,                             -- messages there were then
    worker uuid,                                        -- who measures it
    worked_at timestamptz,                              -- and when it was last heard of
    ready_at timestamptz,
    messages bigint NOT NULL DEFAULT 0,                 -- in the file, so far
    size bigint NOT NULL DEFAULT 0,                     -- its octets, so far
    sha256 bytea,
    failure text NOT NULL DEFAULT '',                   -- why there can be no file
    PRIMARY KEY (customer_id, format)
);

-- It is made stretch by stretch, each out of a few messages.
CREATE TABLE export_stretch (
    customer_id integer NOT NULL,
    format text NOT NULL,
    number integer NOT NULL,
    messages uuid[] NOT NULL,
    start bigint NOT NULL,                              -- its first octet's place in the file
    size bigint NOT NULL,
    directory bytea NOT NULL,                           -- of a zip file: what its end says about them
    PRIMARY KEY (customer_id, format, number),
    FOREIGN KEY (customer_id, format) REFERENCES export ON DELETE CASCADE
);

-- The end of a contract. It stands for good, and is the certificate when all else is destroyed.
CREATE TABLE closing (
    customer_id integer PRIMARY KEY,
    company text NOT NULL,
    email text NOT NULL,                                -- who gets the certificate
    language text NOT NULL,
    time_zone text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    asked_by text NOT NULL,
    due_at timestamptz NOT NULL,
    closed_at timestamptz,                              -- since when no mail is taken in
    key_destroyed_at timestamptz,
    destroyed_at timestamptz,
    messages bigint NOT NULL DEFAULT 0,                 -- that were destroyed
    raw_bytes bigint NOT NULL DEFAULT 0,
    first_at timestamptz,
    last_at timestamptz,
    accounts integer NOT NULL DEFAULT 0,
    discs integer NOT NULL DEFAULT 0,                   -- that had been sent
    serials text[] NOT NULL DEFAULT '{}',               -- of which no image may be left, nor a part of one
    told text[] NOT NULL DEFAULT '{}',                  -- the letters about it that have been sent
    telling_at timestamptz                              -- somebody is about to send one
);

-- Of a customer whose contract has ended: it takes no mail in any more, and what came in before goes on.
ALTER TABLE domain ADD COLUMN closed boolean NOT NULL DEFAULT false;

-- No mail is taken in from now on, if the time has come: whether that is so.
CREATE FUNCTION close_customer(leaver integer) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM 1 FROM closing
    WHERE customer_id = leaver AND due_at <= now() AND closed_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE domain SET closed = true WHERE customer_id = leaver;
    UPDATE closing SET closed_at = now() WHERE customer_id = leaver;
    RETURN true;
END
$$;

-- The key is destroyed, and with it every content, if all mail that was taken in has gone on, if no image of
-- a disc is left, and an hour after the domains were closed: what was being taken in then has been committed
-- or given up. Who signs in is not known any more. Whether that is so.
CREATE FUNCTION destroy_key(leaver integer) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM 1 FROM closing
    WHERE customer_id = leaver AND closed_at < now() - interval '1 hour' AND key_destroyed_at IS NULL
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE domain SET closed = true WHERE customer_id = leaver AND NOT closed;
    IF FOUND THEN                                       -- one has been declared meanwhile
        UPDATE closing SET closed_at = now() WHERE customer_id = leaver;
        RETURN false;
    END IF;
    IF EXISTS (SELECT FROM delivery WHERE customer_id = leaver AND state = 0)
       OR EXISTS (SELECT FROM disc WHERE customer_id = leaver AND state IN ('written', 'shipped')) THEN
        RETURN false;
    END IF;
    UPDATE closing c
    SET key_destroyed_at = now(), messages = m.messages, raw_bytes = m.raw_bytes,
        first_at = (SELECT received_at FROM message WHERE customer_id = leaver AND shelf IN (0, 1)
                    ORDER BY message_id LIMIT 1),
        last_at = (SELECT received_at FROM message WHERE customer_id = leaver AND shelf IN (0, 1)
                   ORDER BY message_id DESC LIMIT 1),
        accounts = (SELECT count(*) FROM account WHERE customer_id = leaver),
        discs = (SELECT count(*) FROM disc WHERE customer_id = leaver AND written_at IS NOT NULL),
        serials = ARRAY (SELECT serial FROM disc WHERE customer_id = leaver)
    FROM (SELECT coalesce(sum(s.messages), 0) AS messages, coalesce(sum(s.raw_bytes), 0) AS raw_bytes
          FROM shelf_count s WHERE customer_id = leaver AND shelf IN (0, 1)) AS m
    WHERE c.customer_id = leaver;
    UPDATE customer SET wrapped_key = '' WHERE customer_id = leaver;
    DELETE FROM export WHERE customer_id = leaver;
    DELETE FROM account WHERE customer_id = leaver;     -- sessions and letters go with them
    RETURN true;
END
$$;

-- Messages of a customer whose key is destroyed are erased, at most so many, and then what counts them: how
-- many rows these were. When there are none, everything else goes, and the customer with it.
CREATE FUNCTION erase_customer(leaver integer, most integer) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
    ids uuid[];
    erased bigint;
BEGIN
    PERFORM lock_catalogue();
    PERFORM 1 FROM closing
    WHERE customer_id = leaver AND key_destroyed_at IS NOT NULL AND destroyed_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT array_agg(message_id) INTO ids
    FROM (SELECT message_id FROM message WHERE customer_id = leaver
          ORDER BY message_id LIMIT most) AS first_come;
    IF ids IS NOT NULL THEN
        RETURN delete_messages(leaver, ids, 'destroyed');
    END IF;
    DELETE FROM body WHERE customer_id = leaver;
    DELETE FROM delivery WHERE customer_id = leaver;
    DELETE FROM search_entry WHERE customer_id = leaver;
    DELETE FROM brought_back WHERE customer_id = leaver;
    DELETE FROM minute_count WHERE (customer_id, shelf, minute, slot) IN (
        SELECT customer_id, shelf, minute, slot FROM minute_count
        WHERE customer_id = leaver LIMIT 40 * most);
    GET DIAGNOSTICS erased = ROW_COUNT;
    IF erased > 0 THEN                                  -- there may be millions of them
        RETURN erased;
    END IF;
    DELETE FROM shelf_count WHERE customer_id = leaver;
    DELETE FROM departed WHERE customer_id = leaver;
    DELETE FROM archivist_request WHERE customer_id = leaver;
    DELETE FROM disc WHERE customer_id = leaver;
    DELETE FROM whitelist WHERE customer_id = leaver;
    DELETE FROM preferences WHERE customer_id = leaver;
    DELETE FROM audit WHERE customer_id = leaver;
    DELETE FROM export WHERE customer_id = leaver;
    DELETE FROM account WHERE customer_id = leaver;
    DELETE FROM domain_claim WHERE customer_id = leaver;
    DELETE FROM destination WHERE destination IN (SELECT name FROM domain WHERE customer_id = leaver);
    DELETE FROM domain WHERE customer_id = leaver;
    DELETE FROM customer WHERE customer_id = leaver;
    UPDATE closing SET destroyed_at = now() WHERE customer_id = leaver;
    RETURN 0;
END
$$;
