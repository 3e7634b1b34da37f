-- Overflow: the oldest mail of a full cabinet goes to the cellar.

-- What stands in the cellar is not searched online. Its entries stay, for the archivist, who has the
-- time to walk them: an entry that changes its shelf is not written into the index anew, which would
-- cost more than all the rest of the move.
DROP INDEX search_grams;
CREATE INDEX search_grams ON search_entry
    USING gin (grams(customer_id, shelf, message_id, sender, recipient, subject))
    WHERE shelf = 0;

-- As before, of the cabinet alone.
DROP FUNCTION find_entries;
CREATE FUNCTION find_entries(customer integer, low uuid, high uuid,
                             every bigint[], one bigint[], another bigint[], third bigint[],
                             span bigint[], in_sender text, in_recipient text, in_subject text,
                             most bigint, wanted bigint, OUT looked_at bigint, OUT ids uuid[])
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan SET work_mem = '32MB' AS
$$
BEGIN
    WITH found AS MATERIALIZED (
        SELECT e.* FROM search_entry e
        WHERE e.shelf = 0
          AND (every IS NULL OR grams(e.customer_id, e.shelf, e.message_id,
                                      e.sender, e.recipient, e.subject) @> every)
          AND (one IS NULL OR grams(e.customer_id, e.shelf, e.message_id,
                                    e.sender, e.recipient, e.subject) && one)
          AND (another IS NULL OR grams(e.customer_id, e.shelf, e.message_id,
                                        e.sender, e.recipient, e.subject) && another)
          AND (third IS NULL OR grams(e.customer_id, e.shelf, e.message_id,
                                      e.sender, e.recipient, e.subject) && third)
          AND (span IS NULL OR grams(e.customer_id, e.shelf, e.message_id,
                                     e.sender, e.recipient, e.subject) && span)
        LIMIT most
    )
    SELECT (SELECT count(*) FROM found),
           ARRAY(SELECT message_id FROM found
                 WHERE customer_id = customer
                   AND message_id >= low AND message_id < high
                   AND strpos(sender, in_sender) > 0 AND strpos(recipient, in_recipient) > 0
                   AND strpos(subject, in_subject) > 0
                 ORDER BY message_id DESC LIMIT wanted)
    INTO looked_at, ids;
END
$$;

DROP FUNCTION find_in_windows;
CREATE FUNCTION find_in_windows(customer integer, lows uuid[], highs uuid[],
                                spans text[], few integer, low uuid, span bigint[], most bigint,
                                every bigint[], one bigint[], another bigint[], third bigint[],
                                in_sender text, in_recipient text, in_subject text,
                                enough bigint, wanted bigint, OUT ids uuid[])
LANGUAGE plpgsql STABLE AS
$$
DECLARE
    oldest uuid;
    counted bigint;
    found uuid[];
BEGIN
    SELECT first_id(coalesce(min(day), 0) * 86400000::bigint) INTO oldest
    FROM shelf_count WHERE customer_id = customer AND shelf = 0;
    ids := '{}';
    FOR i IN 1 .. cardinality(lows) LOOP
        IF i = few + 1 AND every IS NOT NULL THEN
            -- Without terms of one or two letters: where those are common, they cost much.
            SELECT f.looked_at, f.ids INTO counted, found
            FROM find_entries(customer, low, highs[i], every, NULL, NULL, NULL, span,
                              in_sender, in_recipient, in_subject,
                              most, wanted - cardinality(ids)) AS f;
            IF counted < most THEN
                ids := ids || found;
                RETURN;
            END IF;
        END IF;
        SELECT f.ids INTO found
        FROM find_entries(customer, lows[i], highs[i], every, one, another, third,
                          nullif(spans[i], '{}')::bigint[], in_sender, in_recipient, in_subject,
                          1::bigint << 30, wanted - cardinality(ids)) AS f;
        ids := ids || found;
        EXIT WHEN cardinality(ids) >= enough OR lows[i] <= oldest;
    END LOOP;
END
$$;

-- What has left the shelves for good. With what stands on them, it is all that was ever accepted.
CREATE TABLE departed (
    customer_id integer NOT NULL,
    fate text NOT NULL CHECK (fate IN ('deleted')),
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (customer_id, fate)
);

-- What the archivist has brought back to the cabinet, where it is: it is not shed again until then.
CREATE TABLE brought_back (
    customer_id integer NOT NULL,
    message_id uuid NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (customer_id, message_id)
);

-- As before, and those that stood on a shelf are counted.
CREATE OR REPLACE FUNCTION delete_messages(customer integer, ids uuid[]) RETURNS bigint
LANGUAGE plpgsql AS
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
        SELECT customer, 'deleted', count(*), sum(stored_size)
        FROM gone WHERE shelf <> 2 HAVING count(*) > 0
        ON CONFLICT (customer_id, fate) DO UPDATE
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

-- Forget counters of a shelf that have come to nothing, up to a minute: whoever looks for the oldest
-- message would pass them all. Not those of today and yesterday, which a commit may be adding to.
CREATE FUNCTION forget_zeros(customer integer, on_shelf smallint, up_to integer) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_sort = off SET enable_hashagg = off AS
$$
DECLARE
    yesterday integer := floor(extract(epoch FROM now()) / 86400) * 1440 - 1440;
    ending integer := least(up_to, yesterday - 1);
BEGIN
    DELETE FROM minute_count
    WHERE customer_id = customer AND shelf = on_shelf AND minute = ANY (ARRAY(
        SELECT minute FROM minute_count
        WHERE customer_id = customer AND shelf = on_shelf AND minute <= ending
        GROUP BY minute HAVING sum(messages) = 0));
    DELETE FROM shelf_count
    WHERE customer_id = customer AND shelf = on_shelf AND day = ANY (ARRAY(
        SELECT day FROM shelf_count
        WHERE customer_id = customer AND shelf = on_shelf AND day <= ending / 1440
        GROUP BY day HAVING sum(messages) = 0));
END
$$;

-- Put messages from one shelf on another, with their entries and in the counters of both: how many they
-- were. For whoever has the lock of the catalogue. The counters have slot 2 for moves alone, so that no
-- arrival waits for one.
CREATE FUNCTION put_on_shelf(customer integer, ids uuid[], from_shelf smallint, to_shelf smallint)
RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
    moved bigint;
BEGIN
    WITH taken AS (
        UPDATE message SET shelf = to_shelf
        WHERE customer_id = customer AND message_id = ANY (ids) AND shelf = from_shelf
        RETURNING message_id, stored_size, raw_size
    ), entries AS (
        UPDATE search_entry SET shelf = to_shelf
        WHERE customer_id = customer AND shelf = from_shelf AND message_id = ANY (ids)
    ), ways (side, sign) AS (
        VALUES (from_shelf, -1), (to_shelf, 1)
    ), counts AS (
        INSERT INTO shelf_count AS c (customer_id, shelf, day, slot, messages, bytes, raw_bytes)
        SELECT customer, side, day, 2, sign * messages, sign * bytes, sign * raw_bytes
        FROM ways, (SELECT day_of(message_id) AS day, count(*) AS messages,
                           sum(stored_size) AS bytes, sum(raw_size) AS raw_bytes
                    FROM taken GROUP BY day_of(message_id)) AS days
        ORDER BY side, day
        ON CONFLICT (customer_id, shelf, day, slot) DO UPDATE
        SET messages = c.messages + EXCLUDED.messages, bytes = c.bytes + EXCLUDED.bytes,
            raw_bytes = c.raw_bytes + EXCLUDED.raw_bytes
    ), minutes AS (
        INSERT INTO minute_count AS c (customer_id, shelf, minute, slot, messages)
        SELECT customer, side, minute, 2, sign * messages
        FROM ways, (SELECT minute_of(message_id) AS minute, count(*) AS messages
                    FROM taken GROUP BY minute_of(message_id)) AS each_minute
        ORDER BY side, minute
        ON CONFLICT (customer_id, shelf, minute, slot) DO UPDATE
        SET messages = c.messages + EXCLUDED.messages
    )
    SELECT count(*) INTO moved FROM taken;
    RETURN moved;
END
$$;

-- Move the oldest messages of a cabinet to the cellar while it holds more than it may, at most so
-- many, in order of arrival: how many have moved, and how much room there is now (none: less than
-- nothing). What has been brought back stays until its time is over, and has no part in where the oldest
-- is looked for: between it and the others there may be a whole cellar. What moves, and what is counted, is one transaction; whoever else moves, deletes or
-- indexes waits for its end.
CREATE FUNCTION shed(customer integer, most integer, OUT moved integer, OUT room bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashagg = off
SET max_parallel_workers_per_gather = 0 AS
$$
DECLARE
    oldest integer;
    ids uuid[];
    freed bigint;
BEGIN
    PERFORM lock_catalogue();
    moved := 0;
    SELECT c.capacity - (SELECT coalesce(sum(n.bytes), 0) FROM shelf_count n
                         WHERE n.customer_id = customer AND n.shelf = 0)
    INTO room FROM customer c WHERE c.customer_id = customer;
    IF room IS NULL OR room >= 0 THEN
        RETURN;
    END IF;
    SELECT minute INTO oldest FROM minute_count WHERE customer_id = customer AND shelf = 0
    GROUP BY minute HAVING sum(messages) > (
        SELECT count(*) FROM brought_back b
        WHERE b.customer_id = customer
          AND b.message_id >= first_id(minute * 60000::bigint)
          AND b.message_id < first_id((minute + 1) * 60000::bigint))
    ORDER BY minute LIMIT 1;
    SELECT array_agg(message_id ORDER BY message_id), sum(stored_size) INTO ids, freed FROM (
        SELECT message_id, stored_size,
               sum(stored_size) OVER (ORDER BY message_id) - stored_size AS before
        FROM ((SELECT m.message_id, m.stored_size FROM brought_back b
               JOIN message m ON m.customer_id = customer AND m.message_id = b.message_id
               WHERE b.customer_id = customer AND b.until <= now()
               ORDER BY b.message_id LIMIT most)
              UNION ALL
              (SELECT message_id, stored_size FROM message m
               WHERE customer_id = customer AND shelf = 0
                 AND message_id >= first_id(oldest * 60000::bigint)
                 AND NOT EXISTS (SELECT 1 FROM brought_back b
                                 WHERE b.customer_id = customer AND b.message_id = m.message_id)
               ORDER BY message_id LIMIT most)
              ORDER BY message_id LIMIT most) AS first_come) AS summed
    WHERE before < -room;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    moved := put_on_shelf(customer, ids, 0::smallint, 1::smallint);
    room := room + freed;
    DELETE FROM brought_back WHERE customer_id = customer AND message_id = ANY (ids);
    PERFORM forget_zeros(customer, 0::smallint, minute_of(ids[cardinality(ids)]));
END
$$;
