-- Mail that is sent again at the moment when it would be erased.

-- Those of some messages that are not to be relayed; until the end of the transaction, nobody sends them
-- again (a reissue locks its message). They are locked first: what was just being sent is seen then.
CREATE FUNCTION hold_unqueued(customer integer, ids uuid[]) RETURNS uuid[]
LANGUAGE plpgsql AS
$$
DECLARE
    held uuid[];
BEGIN
    PERFORM 1 FROM message WHERE customer_id = customer AND message_id = ANY (ids)
    ORDER BY message_id FOR UPDATE;
    SELECT array_agg(i.id ORDER BY i.id) INTO held FROM unnest(ids) AS i (id)
    WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.customer_id = customer
                      AND d.message_id = i.id AND d.state = 0);
    RETURN held;
END
$$;

-- As before; but what is sent again at this moment stays.
CREATE OR REPLACE FUNCTION erase_what_is_on_discs(customer integer, most integer) RETURNS bigint
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
    ids := hold_unqueued(customer, ids);
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    erased := delete_messages(customer, ids);
    PERFORM forget_zeros(customer, shelf, minute_of(ids[cardinality(ids)]))
    FROM (VALUES (1::smallint), (3::smallint)) AS emptied (shelf);
    RETURN erased;
END
$$;

-- As before; but what is sent again at this moment stays.
CREATE OR REPLACE FUNCTION thin_cellar(customer integer, capacity bigint, most integer) RETURNS bigint
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
    ids := hold_unqueued(customer, ids);
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    RETURN delete_messages(customer, ids, 'destroyed');
END
$$;
