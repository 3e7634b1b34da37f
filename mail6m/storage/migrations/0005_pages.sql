-- Pages and searches in fewer questions: each costs the server as much as rendering a third of a page.

-- Where to begin for the message of an offset, newest first: below which id, and how many messages to
-- pass from there. What has few before it is found by passing those; else the sums of the days say
-- which day it is of, and those of its minutes which minute.
CREATE FUNCTION shelf_place(customer integer, on_shelf smallint, wanted bigint, near bigint,
                            OUT high uuid, OUT skipped bigint) LANGUAGE plpgsql STABLE AS
$$
DECLARE
    period integer;
    newer bigint;
BEGIN
    high := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    skipped := wanted;
    IF skipped <= near THEN
        RETURN;
    END IF;
    SELECT day, through - messages INTO period, newer FROM (
        SELECT day, messages, sum(messages) OVER (ORDER BY day DESC) AS through FROM (
            SELECT day, sum(messages) AS messages FROM shelf_count
            WHERE customer_id = customer AND shelf = on_shelf GROUP BY day) AS days) AS summed
    WHERE through > skipped ORDER BY day DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    high := first_id((period + 1) * 86400000::bigint);
    skipped := skipped - newer;
    IF skipped <= near THEN
        RETURN;
    END IF;
    SELECT minute, through - messages INTO period, newer FROM (
        SELECT minute, messages, sum(messages) OVER (ORDER BY minute DESC) AS through FROM (
            SELECT minute, sum(messages) AS messages FROM minute_count
            WHERE customer_id = customer AND shelf = on_shelf
              AND minute BETWEEN period * 1440 AND period * 1440 + 1439
            GROUP BY minute) AS minutes) AS summed
    WHERE through > skipped ORDER BY minute DESC LIMIT 1;
    IF FOUND THEN
        high := first_id((period + 1) * 60000::bigint);
        skipped := skipped - newer;
    END IF;
END
$$;

-- The least id of a millisecond since 1970 (RFC 9562, 5.7).
CREATE FUNCTION first_id(milliseconds bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT rpad(lpad(to_hex(milliseconds), 12, '0'), 32, '0')::uuid $$;

-- As before; and where that has not ended the search, the newest entries of the shelf, at most so
-- many, as a sample: how many they are, and what they say, field by field.
DROP FUNCTION walk_entries;
CREATE FUNCTION walk_entries(customer integer, on_shelf smallint, low uuid, high uuid, step bigint,
                             in_sender text, in_recipient text, in_subject text, wanted bigint,
                             sampled bigint, OUT walked bigint, OUT last uuid, OUT ids uuid[],
                             OUT entries bigint, OUT sample text[])
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
    IF walked = step AND cardinality(ids) < wanted THEN
        SELECT count(*), ARRAY[string_agg(sender, E'\n'), string_agg(recipient, E'\n'),
                               string_agg(subject, E'\n')] INTO entries, sample
        FROM (SELECT sender, recipient, subject FROM search_entry
              WHERE customer_id = customer AND shelf = on_shelf
              ORDER BY message_id DESC LIMIT sampled) AS newest;
    END IF;
END
$$;

-- What `find_entries` finds window by window, each with the grams of its time, until it is enough, or
-- the shelf has nothing older. A term that is not in the first few windows may be rare: then all
-- there is, is found at once, if it is not more than `most`; to find out costs much where it is not.
CREATE FUNCTION find_in_windows(customer integer, on_shelf smallint, lows uuid[], highs uuid[],
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
    FROM shelf_count WHERE customer_id = customer AND shelf = on_shelf;
    ids := '{}';
    FOR i IN 1 .. cardinality(lows) LOOP
        IF i = few + 1 AND every IS NOT NULL THEN
            -- Without terms of one or two letters: where those are common, they cost much.
            SELECT f.looked_at, f.ids INTO counted, found
            FROM find_entries(customer, on_shelf, low, highs[i], every, NULL, NULL, NULL, span,
                              in_sender, in_recipient, in_subject,
                              most, wanted - cardinality(ids)) AS f;
            IF counted < most THEN
                ids := ids || found;
                RETURN;
            END IF;
        END IF;
        SELECT f.ids INTO found
        FROM find_entries(customer, on_shelf, lows[i], highs[i], every, one, another, third,
                          nullif(spans[i], '{}')::bigint[], in_sender, in_recipient, in_subject,
                          1::bigint << 30, wanted - cardinality(ids)) AS f;
        ids := ids || found;
        EXIT WHEN cardinality(ids) >= enough OR lows[i] <= oldest;
    END LOOP;
END
$$;
