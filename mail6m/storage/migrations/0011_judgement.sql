-- What the guard has found out about messages, and what customers ask of it.

-- The verdict of the antispam stands in message.spam; how it came about, and who sent the message,
-- stands here, as storage/judgements.py writes it. Null: nobody has looked.
ALTER TABLE message ADD COLUMN judgement jsonb;

ALTER TABLE preferences
    -- A domain of the white list must be confirmed by SPF or DKIM.
    ADD COLUMN confirm_whitelist boolean NOT NULL DEFAULT true,
    -- What the author's domain asks to be refused (DMARC) is refused.
    ADD COLUMN refuse_forged boolean NOT NULL DEFAULT false;

-- Running processes learn at once what a customer asks of the guard.
CREATE FUNCTION tell_guard() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NOTIFY mail6m_guard; RETURN NULL; END $$;
CREATE TRIGGER whitelist_changed AFTER INSERT OR UPDATE OR DELETE ON whitelist
    FOR EACH STATEMENT EXECUTE FUNCTION tell_guard();
CREATE TRIGGER guard_changed AFTER UPDATE OF confirm_whitelist, refuse_forged ON preferences
    FOR EACH STATEMENT EXECUTE FUNCTION tell_guard();

-- Spam alone, or all but spam, page by page, however much there is of the other.
ALTER TABLE search_entry ADD COLUMN spam boolean NOT NULL DEFAULT false;
CREATE INDEX search_spam ON search_entry (customer_id, shelf, spam, message_id);

-- As before, and whether it is spam.
CREATE OR REPLACE FUNCTION index_messages(batches bigint[], customers integer[], ids uuid[],
                                          senders text[], recipients text[], subjects text[])
RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM lock_catalogue();
    INSERT INTO search_entry (customer_id, shelf, message_id, sender, recipient, subject, spam)
    SELECT n.customer, m.shelf, n.id, n.sender, n.recipient, n.subject, m.spam IS TRUE
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

-- The newest entries between two ids, spam or not; with null, both.
CREATE FUNCTION newest_entries(customer integer, on_shelf smallint, only_spam boolean,
                               low uuid, high uuid, step bigint)
RETURNS SETOF search_entry LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET max_parallel_workers_per_gather = 0 AS
$$
BEGIN
    IF only_spam IS NULL THEN
        RETURN QUERY SELECT * FROM search_entry
        WHERE customer_id = customer AND shelf = on_shelf
          AND message_id >= low AND message_id < high
        ORDER BY message_id DESC LIMIT step;
    ELSE
        RETURN QUERY SELECT * FROM search_entry
        WHERE customer_id = customer AND shelf = on_shelf AND spam = only_spam
          AND message_id >= low AND message_id < high
        ORDER BY message_id DESC LIMIT step;
    END IF;
END
$$;

-- As before, of spam, of all but spam, or of both; and the sample is made only where the search goes on,
-- since fewer than `enough` have been found.
DROP FUNCTION walk_entries;
CREATE FUNCTION walk_entries(customer integer, on_shelf smallint, only_spam boolean,
                             low uuid, high uuid, step bigint,
                             in_sender text, in_recipient text, in_subject text, enough bigint,
                             wanted bigint, sampled bigint,
                             OUT walked bigint, OUT last uuid, OUT ids uuid[],
                             OUT entries bigint, OUT sample text[])
LANGUAGE plpgsql STABLE AS
$$
BEGIN
    WITH newest AS MATERIALIZED (
        SELECT message_id, sender, recipient, subject
        FROM newest_entries(customer, on_shelf, only_spam, low, high, step)
    )
    SELECT (SELECT count(*) FROM newest),
           (SELECT message_id FROM newest ORDER BY message_id LIMIT 1),
           ARRAY(SELECT message_id FROM newest
                 WHERE strpos(sender, in_sender) > 0 AND strpos(recipient, in_recipient) > 0
                   AND strpos(subject, in_subject) > 0
                 ORDER BY message_id DESC LIMIT wanted)
    INTO walked, last, ids;
    IF walked = step AND cardinality(ids) < enough THEN
        SELECT count(*), ARRAY[string_agg(sender, E'\n'), string_agg(recipient, E'\n'),
                               string_agg(subject, E'\n')] INTO entries, sample
        FROM newest_entries(customer, on_shelf, only_spam, '00000000-0000-0000-0000-000000000000',
                            'ffffffff-ffff-ffff-ffff-ffffffffffff', sampled);
    END IF;
END
$$;

-- As before, of spam, of all but spam, or of both.
DROP FUNCTION find_entries;
CREATE FUNCTION find_entries(customer integer, only_spam boolean, low uuid, high uuid,
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
                 WHERE customer_id = customer AND coalesce(spam = only_spam, true)
                   AND message_id >= low AND message_id < high
                   AND strpos(sender, in_sender) > 0 AND strpos(recipient, in_recipient) > 0
                   AND strpos(subject, in_subject) > 0
                 ORDER BY message_id DESC LIMIT wanted)
    INTO looked_at, ids;
END
$$;

DROP FUNCTION find_in_windows;
CREATE FUNCTION find_in_windows(customer integer, only_spam boolean, lows uuid[], highs uuid[],
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
            FROM find_entries(customer, only_spam, low, highs[i], every, NULL, NULL, NULL, span,
                              in_sender, in_recipient, in_subject,
                              most, wanted - cardinality(ids)) AS f;
            IF counted < most THEN
                ids := ids || found;
                RETURN;
            END IF;
        END IF;
        SELECT f.ids INTO found
        FROM find_entries(customer, only_spam, lows[i], highs[i], every, one, another, third,
                          nullif(spans[i], '{}')::bigint[], in_sender, in_recipient, in_subject,
                          1::bigint << 30, wanted - cardinality(ids)) AS f;
        ids := ids || found;
        EXIT WHEN cardinality(ids) >= enough OR lows[i] <= oldest;
    END LOOP;
END
$$;

-- A customer knows better than the antispam; returns those of the messages that were marked otherwise.
CREATE FUNCTION mark_spam(customer integer, ids uuid[], marked boolean) RETURNS uuid[]
LANGUAGE plpgsql AS
$$
DECLARE
    changed uuid[];
BEGIN
    PERFORM lock_catalogue();
    WITH corrected AS (
        UPDATE message
        SET spam = marked, judgement = coalesce(judgement, '{}') || '{"corrected": true}'
        WHERE customer_id = customer AND message_id = ANY (ids) AND shelf = 0
          AND spam IS DISTINCT FROM marked
        RETURNING message_id
    )
    SELECT coalesce(array_agg(message_id), '{}') INTO changed FROM corrected;
    UPDATE search_entry SET spam = marked
    WHERE customer_id = customer AND shelf = 0 AND message_id = ANY (changed);
    RETURN changed;
END
$$;
