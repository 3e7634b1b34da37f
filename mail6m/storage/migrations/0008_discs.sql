-- Discs: from the offer to the destruction.

CREATE TABLE disc (
    customer_id integer NOT NULL REFERENCES customer,
    serial text NOT NULL UNIQUE CHECK (serial ~ '^[2-9A-HJ-NP-Z]{6}$'),
    state text NOT NULL CHECK (state IN ('offered', 'refused', 'ordered', 'written', 'shipped', 'destroyed')),
    offered_at timestamptz NOT NULL DEFAULT now(),
    answered_at timestamptz,
    told text[] NOT NULL DEFAULT '{}',                  -- the letters about it that have been sent
    told_at timestamptz,                                -- the last one of them
    telling_at timestamptz,                             -- somebody is about to send one
    progress real NOT NULL DEFAULT 0,                   -- of writing it, from 0 to 1
    written_at timestamptz,
    shipped_at timestamptz,
    received_at timestamptz,                            -- when the customer has said so
    destroyed_at timestamptz,
    messages bigint NOT NULL DEFAULT 0,                 -- on it
    left_out bigint NOT NULL DEFAULT 0,                 -- spam of the same period, destroyed with it
    raw_bytes bigint NOT NULL DEFAULT 0,
    first_at timestamptz,                               -- the period of its messages
    last_at timestamptz,
    image_size bigint NOT NULL DEFAULT 0,
    manifest_sha256 bytea,
    place text NOT NULL DEFAULT '',                     -- where the image is: host, and folder
    PRIMARY KEY (customer_id, serial)
);
-- One at a time waits for an answer, or to be written.
CREATE UNIQUE INDEX disc_open ON disc (customer_id) WHERE state IN ('offered', 'ordered');

-- Options of the server that its commands go by, too.
CREATE TABLE server_option (
    name text PRIMARY KEY,
    value text NOT NULL
);

-- What is on a disc has left the shelves, and is erased a moment later: until then it stands on
-- shelf 3, where nobody looks. Spam that was left out goes the same way.
--
-- As before; what stood in the cabinet or in the cellar is counted under its fate. What is on a disc
-- is counted there.
ALTER TABLE departed DROP CONSTRAINT departed_fate_check,
    ADD CHECK (fate IN ('deleted', 'destroyed'));
DROP FUNCTION delete_messages;
CREATE FUNCTION delete_messages(customer integer, ids uuid[], fate text DEFAULT 'deleted')
RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
    deleted bigint;
BEGIN
    PERFORM lock_catalogue();
    WITH gone AS (
        DELETE FROM message WHERE customer_id = customer AND message_id = ANY (ids)
        RETURNING message_id, shelf, stored_size, raw_size
    ), counts AS (
        INSERT INTO shelf_count AS c (customer_id, shelf, day, slot, messages, bytes, raw_bytes)
        SELECT customer, shelf, day_of(message_id), 0, -count(*), -sum(stored_size), -sum(raw_size)
        FROM gone GROUP BY shelf, day_of(message_id) ORDER BY shelf, day_of(message_id)
        ON CONFLICT (customer_id, shelf, day, slot) DO UPDATE
        SET messages = c.messages + EXCLUDED.messages, bytes = c.bytes + EXCLUDED.bytes,
            raw_bytes = c.raw_bytes + EXCLUDED.raw_bytes
    ), minutes AS (
        INSERT INTO minute_count AS c (customer_id, shelf, minute, slot, messages)
        SELECT customer, shelf, minute_of(message_id), 0, -count(*)
        FROM gone WHERE shelf <> 2
        GROUP BY shelf, minute_of(message_id) ORDER BY shelf, minute_of(message_id)
        ON CONFLICT (customer_id, shelf, minute, slot) DO UPDATE
        SET messages = c.messages + EXCLUDED.messages
    ), ledger AS (
        INSERT INTO departed AS d (customer_id, fate, messages, bytes)
        SELECT customer, delete_messages.fate, count(*), sum(stored_size)
        FROM gone WHERE shelf IN (0, 1) HAVING count(*) > 0
        ON CONFLICT ON CONSTRAINT departed_pkey DO UPDATE
        SET messages = d.messages + EXCLUDED.messages, bytes = d.bytes + EXCLUDED.bytes
    )
    SELECT count(*) INTO deleted FROM gone;
    DELETE FROM body WHERE customer_id = customer AND message_id = ANY (ids);
    DELETE FROM delivery WHERE customer_id = customer AND message_id = ANY (ids);
    DELETE FROM search_entry WHERE customer_id = customer AND message_id = ANY (ids);
    DELETE FROM brought_back WHERE customer_id = customer AND message_id = ANY (ids);
    RETURN deleted;
END
$$;

-- The messages of an image that is there leave the cellar, and the disc is written, in one transaction.
-- False if it was not ordered, or if the cellar is not as it was planned: then nothing has changed.
CREATE FUNCTION leave_on_disc(customer integer, of_serial text, ids uuid[], left_over uuid[], raw bigint,
                              since timestamptz, until_then timestamptz, size bigint, manifest bytea,
                              at_place text)
RETURNS boolean LANGUAGE plpgsql AS
$$
DECLARE
    there bigint;
BEGIN
    PERFORM 1 FROM disc
    WHERE customer_id = customer AND serial = of_serial AND state = 'ordered' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM lock_catalogue();
    SELECT count(*) INTO there FROM message
    WHERE customer_id = customer AND message_id = ANY (ids || left_over) AND shelf = 1;
    IF there <> cardinality(ids) + cardinality(left_over) THEN
        RETURN false;
    END IF;
    PERFORM put_on_shelf(customer, ids || left_over, 1::smallint, 3::smallint);
    UPDATE disc
    SET state = 'written', progress = 1, written_at = now(), messages = cardinality(ids),
        left_out = cardinality(left_over), raw_bytes = raw, first_at = since, last_at = until_then,
        image_size = size, manifest_sha256 = manifest, place = at_place
    WHERE customer_id = customer AND serial = of_serial;
    RETURN true;
END
$$;

-- Erase what stands on a disc, the oldest first, at most so many messages: how many they were. What is
-- still to be relayed waits until it is.
CREATE FUNCTION erase_what_is_on_discs(customer integer, most integer) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashagg = off
SET max_parallel_workers_per_gather = 0 AS
$$
DECLARE
    oldest integer;
    ids uuid[];
    erased bigint;
BEGIN
    PERFORM lock_catalogue();
    SELECT minute INTO oldest FROM minute_count WHERE customer_id = customer AND shelf = 3
    GROUP BY minute HAVING sum(messages) > 0 ORDER BY minute LIMIT 1;
    SELECT array_agg(message_id ORDER BY message_id) INTO ids
    FROM (SELECT message_id FROM message m
          WHERE customer_id = customer AND shelf = 3
            AND message_id >= first_id(oldest * 60000::bigint)
            AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.customer_id = customer
                            AND d.message_id = m.message_id AND d.state = 0)
          ORDER BY message_id LIMIT most) AS first_come;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    erased := delete_messages(customer, ids);
    PERFORM forget_zeros(customer, shelf, minute_of(ids[cardinality(ids)]))
    FROM (VALUES (1::smallint), (3::smallint)) AS emptied (shelf);
    RETURN erased;
END
$$;

-- Of a cellar whose disc has been refused, destroy the oldest messages, at most so many, and no more than it
-- takes to keep it under one disc: how many they were. Contents are counted by the sector. Spam that goes
-- on no disc does not count, and goes with the others. What is still to be relayed stays until it is, and so
-- does all of a cellar whose customer has subscribed to discs meanwhile.
CREATE FUNCTION thin_cellar(customer integer, capacity bigint, most integer) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET max_parallel_workers_per_gather = 0 AS
$$
DECLARE
    last_answer text;
    spam_too boolean;
    subscribed boolean;
    surplus bigint;
    ids uuid[];
BEGIN
    PERFORM lock_catalogue();
    SELECT state INTO last_answer FROM disc WHERE customer_id = customer
    ORDER BY offered_at DESC LIMIT 1;
    SELECT archive_spam, disc_subscription INTO spam_too, subscribed
    FROM preferences WHERE customer_id = customer;
    IF last_answer IS DISTINCT FROM 'refused' OR subscribed THEN
        RETURN 0;
    END IF;
    SELECT coalesce(sum((raw_size + 2047) / 2048), 0) * 2048 - capacity INTO surplus FROM message
    WHERE customer_id = customer AND shelf = 1 AND (spam IS NOT TRUE OR spam_too);
    IF surplus < 0 THEN
        RETURN 0;
    END IF;
    SELECT array_agg(message_id) INTO ids FROM (
        SELECT message_id, sum(size) OVER (ORDER BY message_id) - size AS before
        FROM (SELECT message_id, CASE WHEN spam IS NOT TRUE OR spam_too
                                      THEN (raw_size + 2047) / 2048 * 2048 ELSE 0 END AS size
              FROM message m WHERE customer_id = customer AND shelf = 1
                AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.customer_id = customer
                                AND d.message_id = m.message_id AND d.state = 0)
              ORDER BY message_id LIMIT most) AS oldest) AS summed
    WHERE before <= surplus;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    RETURN delete_messages(customer, ids, 'destroyed');
END
$$;
