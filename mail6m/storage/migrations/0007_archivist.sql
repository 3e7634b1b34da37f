-- The archivist: what customers ask to have back from the cellar.

CREATE TABLE archivist_request (
    customer_id integer NOT NULL REFERENCES customer,
    request_id integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    asked_at timestamptz NOT NULL DEFAULT now(),
    account text NOT NULL,                              -- the address that asked
    sender text NOT NULL,                               -- parts of what is wanted, as they were typed
    recipient text NOT NULL,
    subject text NOT NULL,
    since timestamptz,
    until timestamptz,
    reason text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'granted', 'refused')),
    decided_at timestamptz,
    answer text NOT NULL DEFAULT '',                    -- of a refusal: why
    messages bigint,                                    -- that have been brought back
    PRIMARY KEY (customer_id, request_id)
);

-- Grant a request that waits: bring messages back from the cellar to the cabinet until a time. How many
-- of them were there still; null if the request has been decided. It is locked first: what somebody else
-- refuses meanwhile is not brought back.
CREATE FUNCTION grant_request(customer integer, request integer, ids uuid[], until_then timestamptz)
RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
    moved bigint;
BEGIN
    PERFORM 1 FROM archivist_request
    WHERE customer_id = customer AND request_id = request AND state = 'waiting' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM lock_catalogue();
    INSERT INTO brought_back (customer_id, message_id, until)
    SELECT customer_id, message_id, until_then FROM message
    WHERE customer_id = customer AND message_id = ANY (ids) AND shelf = 1
    ON CONFLICT (customer_id, message_id) DO UPDATE SET until = EXCLUDED.until;
    moved := put_on_shelf(customer, ids, 1::smallint, 0::smallint);
    UPDATE archivist_request SET state = 'granted', decided_at = now(), messages = moved
    WHERE customer_id = customer AND request_id = request;
    RETURN moved;
END
$$;
