-- The catalogue: pages of a shelf by their number, and the search.

-- A shelf is counted by the day of arrival, and once more by the minute (UTC, since 1970), so that
-- the page of a number is found without walking all the messages before it, nor all of a busy day.
DROP TABLE shelf_count;
CREATE TABLE shelf_count (
    customer_id integer NOT NULL,
    shelf smallint NOT NULL,
    day integer NOT NULL,
    slot integer NOT NULL,
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    raw_bytes bigint NOT NULL,
    PRIMARY KEY (customer_id, shelf, day, slot)
) WITH (fillfactor = 50);

-- The milliseconds of a UUID of version 7 (RFC 9562, 5.7) are its first 48 bits.
CREATE FUNCTION milliseconds_of(id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint $$;
CREATE FUNCTION day_of(id uuid) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (milliseconds_of(id) / 86400000)::integer $$;
CREATE FUNCTION minute_of(id uuid) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (milliseconds_of(id) / 60000)::integer $$;

INSERT INTO shelf_count
SELECT customer_id, shelf, day_of(message_id), 0, count(*), sum(stored_size), sum(raw_size)
FROM message GROUP BY customer_id, shelf, day_of(message_id);

CREATE TABLE minute_count (
    customer_id integer NOT NULL,
    shelf smallint NOT NULL,
    minute integer NOT NULL,
    slot integer NOT NULL,
    messages integer NOT NULL,
    PRIMARY KEY (customer_id, shelf, minute, slot)
) WITH (fillfactor = 50);

INSERT INTO minute_count
SELECT customer_id, shelf, minute_of(message_id), 0, count(*)
FROM message WHERE shelf <> 2 GROUP BY customer_id, shelf, minute_of(message_id);

-- What messages are searched by, without case and accents (mail6m.fold), beside the messages: it
-- is written a moment after them, when there is time (mail6m.indexer).
CREATE TABLE search_entry (
    customer_id integer NOT NULL,
    shelf smallint NOT NULL,
    message_id uuid NOT NULL,
    sender text COLLATE "C" NOT NULL,           -- of the envelope, and From
    recipient text COLLATE "C" NOT NULL,        -- of the envelope, and To and Cc
    subject text COLLATE "C" NOT NULL,
    PRIMARY KEY (customer_id, shelf, message_id)
);

-- What the index knows an entry by: every three octets that follow each other in a text, as one
-- number with the customer, the shelf and the field, so that one customer's terms say nothing about
-- another's, and cost them nothing. Of the second and the third octet it keeps five bits, so that
-- what begins with a letter is a thousand numbers, not more. Behind its end a text goes on with two
-- more octets, so that its last ones, too, begin a gram. Field 3 is the time of arrival, in spans of
-- 2^20 to 2^36 milliseconds. mail6m.fold makes the same numbers of a term.
-- As one query in plpgsql this takes a third of the time that it takes in SQL. An index's function
-- may call none of ours: it is run without our schema on the path.
CREATE FUNCTION grams(customer integer, shelf smallint, id uuid,
                      sender text, recipient text, subject text)
RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10000 AS
$$
DECLARE
    senders bigint := (customer::bigint << 28) + (shelf::bigint << 26);
    recipients bigint := senders + (1 << 24);
    subjects bigint := senders + (2 << 24);
    times bigint := senders + (3 << 24);
    recipient_at integer := 8 * (octet_length(sender) + 2);
    subject_at integer := recipient_at + 8 * (octet_length(recipient) + 2);
    octets varbit := ('x' || encode(convert_to(sender || E'\x01\x01' || recipient || E'\x01\x01'
                                               || subject || E'\x01\x01', 'UTF8'), 'hex'))::varbit;
    milliseconds bigint := ('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint;
BEGIN
    RETURN ARRAY(SELECT (substring(octets, i, 24)::integer & x'ff1f1f'::integer)
                        + CASE WHEN i > subject_at THEN subjects
                               WHEN i > recipient_at THEN recipients ELSE senders END
                 FROM generate_series(1, length(octets) - 23, 8) AS i)
        || ARRAY(SELECT times + (level << 21) + ((milliseconds >> 20 + 4 * level) & 2097151)
                 FROM generate_series(0, 4) AS level);
END
$$;

CREATE INDEX search_grams ON search_entry
    USING gin (grams(customer_id, shelf, message_id, sender, recipient, subject));

-- Three ways to read a shelf. Each is set to go one way: the planner guesses from statistics how much
-- a customer has, and where they are old or missing it would rather sort a million messages than
-- walk to the newest thirty.

-- Messages between two ids, newest first, without the first so many.
CREATE FUNCTION shelf_page(customer integer, on_shelf smallint, low uuid, high uuid,
                           skipped bigint, wanted bigint)
RETURNS SETOF message LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET max_parallel_workers_per_gather = 0 AS
$$
    SELECT * FROM message
    WHERE customer_id = customer AND shelf = on_shelf AND message_id >= low AND message_id < high
    ORDER BY message_id DESC OFFSET skipped LIMIT wanted
$$;

-- The newest so many entries between two ids: how many there were, the last of them, and the newest
-- that contain some terms.
CREATE FUNCTION walk_entries(customer integer, on_shelf smallint, low uuid, high uuid, step bigint,
                             in_sender text, in_recipient text, in_subject text, wanted bigint,
                             OUT walked bigint, OUT last uuid, OUT ids uuid[])
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET max_parallel_workers_per_gather = 0 AS
$$
BEGIN
    WITH newest AS MATERIALIZED (
        SELECT message_id, sender, recipient, subject FROM search_entry
        WHERE customer_id = customer AND shelf = on_shelf
          AND message_id >= low AND message_id < high
        ORDER BY message_id DESC LIMIT step
    )
    SELECT (SELECT count(*) FROM newest),
           (SELECT message_id FROM newest ORDER BY message_id LIMIT 1),
           ARRAY(SELECT message_id FROM newest
                 WHERE strpos(sender, in_sender) > 0 AND strpos(recipient, in_recipient) > 0
                   AND strpos(subject, in_subject) > 0
                 ORDER BY message_id DESC LIMIT wanted)
    INTO walked, last, ids;
END
$$;

-- Of the entries that the index knows to have every one of some grams, and one of each of some sets
-- of them (or null), at most so many are looked at: how many those were, and the newest that contain
-- the terms.
CREATE FUNCTION find_entries(customer integer, on_shelf smallint, low uuid, high uuid,
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
        WHERE (every IS NULL OR grams(e.customer_id, e.shelf, e.message_id,
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
                 WHERE customer_id = customer AND shelf = on_shelf
                   AND message_id >= low AND message_id < high
                   AND strpos(sender, in_sender) > 0 AND strpos(recipient, in_recipient) > 0
                   AND strpos(subject, in_subject) > 0
                 ORDER BY message_id DESC LIMIT wanted)
    INTO looked_at, ids;
END
$$;

-- Messages that have no entry yet: a row for each commit, whose cost is shared like the commit's.
CREATE TABLE unindexed (
    unindexed_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customers integer[] NOT NULL,
    messages uuid[] NOT NULL,
    size integer GENERATED ALWAYS AS (cardinality(messages)) STORED
);
INSERT INTO unindexed (customers, messages)
SELECT array_agg(customer_id), array_agg(message_id)
FROM (SELECT customer_id, message_id, row_number() OVER (ORDER BY message_id) / 200 AS part
      FROM message WHERE shelf <> 2) AS m
GROUP BY part ORDER BY part;

-- Whoever writes entries, and whoever deletes messages, has this lock to the end of the
-- transaction: no entry can be written of what is being deleted.
CREATE FUNCTION lock_catalogue() RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(x'6d61696c0002'::bigint) $$;

CREATE FUNCTION index_messages(batches bigint[], customers integer[], ids uuid[],
                               senders text[], recipients text[], subjects text[])
RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM lock_catalogue();
    INSERT INTO search_entry (customer_id, shelf, message_id, sender, recipient, subject)
    SELECT n.customer, m.shelf, n.id, n.sender, n.recipient, n.subject
    FROM unnest(customers, ids, senders, recipients, subjects)
         AS n (customer, id, sender, recipient, subject)
    JOIN message m ON m.customer_id = n.customer AND m.message_id = n.id
    WHERE m.shelf <> 2
    ON CONFLICT DO NOTHING;
    DELETE FROM unindexed WHERE unindexed_id = ANY (batches);
    -- New grams are sorted in together, now: every search would read those that wait for it.
    PERFORM gin_clean_pending_list('search_grams');
END
$$;

-- Delete messages for good, with all that knows of them; returns how many there were.
CREATE FUNCTION delete_messages(customer integer, ids uuid[]) RETURNS bigint LANGUAGE plpgsql AS
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
    )
    SELECT count(*) INTO deleted FROM gone;
    DELETE FROM body WHERE customer_id = customer AND message_id = ANY (ids);
    DELETE FROM delivery WHERE customer_id = customer AND message_id = ANY (ids);
    DELETE FROM search_entry WHERE customer_id = customer AND message_id = ANY (ids);
    RETURN deleted;
END
$$;
