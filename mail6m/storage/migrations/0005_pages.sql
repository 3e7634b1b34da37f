-- A page of a shelf in one question, with what the shelf holds.

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
