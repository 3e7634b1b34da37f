-- The archive and the queue.
--
-- Every table that grows has customer_id first in its primary key. A message's rows (message,
-- body, delivery) are written in one transaction, which is why they need no foreign keys among
-- them: a check per row would cost more than the row.

CREATE TABLE customer (
    customer_id integer PRIMARY KEY,
    company text NOT NULL,
    plan text NOT NULL,
    capacity bigint NOT NULL CHECK (capacity > 0),      -- stored bytes in the cabinet
    wrapped_key bytea NOT NULL,                         -- AES-256-GCM under the master key
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE customer_number;

CREATE TABLE account (
    customer_id integer NOT NULL REFERENCES customer,
    account_id integer GENERATED ALWAYS AS IDENTITY,
    email text NOT NULL,
    role text NOT NULL DEFAULT 'administrator',
    password_hash text,                                 -- null: none chosen yet
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, account_id)
);
CREATE UNIQUE INDEX account_email ON account (lower(email));

CREATE TABLE domain (
    customer_id integer NOT NULL REFERENCES customer,
    name text NOT NULL UNIQUE CHECK (name = lower(name)),   -- A-labels
    hosts text[] NOT NULL,                              -- 'name:port', in order
    tls text NOT NULL DEFAULT 'opportunistic',
    verify_recipients boolean NOT NULL DEFAULT true,
    PRIMARY KEY (customer_id, name)
);

-- message_id is a UUID of version 7 (RFC 9562, 5.7): its order is the order of arrival.
CREATE TABLE message (
    customer_id integer NOT NULL,
    message_id uuid NOT NULL,
    shelf smallint NOT NULL,                            -- model.Shelf
    received_at timestamptz NOT NULL,
    raw_size bigint NOT NULL,
    stored_size bigint NOT NULL,
    sender text NOT NULL,                               -- envelope; '' is the null sender
    recipients text[] NOT NULL,                         -- envelope, this customer's only
    header_from text NOT NULL,
    header_to text NOT NULL,
    subject text NOT NULL,
    header_message_id text NOT NULL,
    sha256 bytea NOT NULL,                              -- of the bytes received
    client_address text NOT NULL,
    client_name text NOT NULL,
    client_hello text NOT NULL,
    protocol text NOT NULL,
    tls text NOT NULL,
    smtputf8 boolean NOT NULL,
    eightbit boolean NOT NULL,
    returns text NOT NULL,                              -- RET (RFC 3461)
    envid text NOT NULL,                                -- ENVID (RFC 3461)
    spam boolean,                                       -- null: not scanned
    PRIMARY KEY (customer_id, message_id)
);

-- Sealed content, in parts that fit a page each: inserted in bulk as plain rows they cost a
-- third of what the same bytes cost in TOAST (docs/storage.md).
CREATE TABLE body (
    customer_id integer NOT NULL,
    message_id uuid NOT NULL,
    part integer NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (customer_id, message_id, part)
) WITH (toast_tuple_target = 8160);
ALTER TABLE body ALTER COLUMN sealed SET STORAGE PLAIN;

-- What each shelf holds is the sum over its slots; several writers do not wait for one row.
CREATE TABLE shelf_count (
    customer_id integer NOT NULL,
    shelf smallint NOT NULL,
    slot integer NOT NULL,
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (customer_id, shelf, slot)
) WITH (fillfactor = 50);

-- A process that relays. Its lease holds for all the deliveries that name it.
CREATE TABLE server (
    server_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,                                 -- host, data directory, slot
    started_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL
);
CREATE INDEX server_name ON server (name);

CREATE TABLE delivery (
    customer_id integer NOT NULL,
    message_id uuid NOT NULL,
    number integer NOT NULL,
    recipient text NOT NULL,
    notify smallint NOT NULL,                           -- model.Notify
    original text NOT NULL,                             -- ORCPT
    destination text NOT NULL,                          -- a customer's domain, or 'mx:' and a domain
    state smallint NOT NULL,                            -- model.State
    attempts integer NOT NULL,
    warned boolean NOT NULL DEFAULT false,
    queued_at timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,               -- of a leased one: when others may look
    server_id integer,                                  -- who has it in hand
    attempted_at timestamptz,
    last_reply text NOT NULL DEFAULT '',
    host text NOT NULL DEFAULT '',
    tls text NOT NULL DEFAULT '',
    PRIMARY KEY (customer_id, message_id, number)
) WITH (fillfactor = 80);
CREATE INDEX delivery_queue ON delivery (destination, next_attempt_at) WHERE state = 0;

-- Destinations that are down: one probe at next_probe_at finds out whether they are back.
CREATE TABLE destination (
    destination text PRIMARY KEY,
    failures integer NOT NULL,
    down_since timestamptz NOT NULL DEFAULT now(),
    next_probe_at timestamptz NOT NULL,
    last_reply text NOT NULL
);

-- Running processes learn at once what an operator's command has changed.
CREATE FUNCTION tell_routes() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NOTIFY mail6m_routes; RETURN NULL; END $$;
CREATE TRIGGER domain_changed AFTER INSERT OR UPDATE OR DELETE ON domain
    FOR EACH STATEMENT EXECUTE FUNCTION tell_routes();
CREATE TRIGGER customer_changed AFTER INSERT OR UPDATE OR DELETE ON customer
    FOR EACH STATEMENT EXECUTE FUNCTION tell_routes();
