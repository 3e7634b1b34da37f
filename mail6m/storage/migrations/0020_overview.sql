-- What operators look at: rates, growth, the queue by destination, what went wrong; and what they hold.

-- Destinations whose mail waits until an operator lets it go: nothing of it is leased by any server.
CREATE TABLE held_destination (
    destination text PRIMARY KEY,
    held_at timestamptz NOT NULL DEFAULT now(),
    held_by text NOT NULL
);

-- Whoever has the domain next has not been held.
CREATE FUNCTION let_go_of_domain() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    DELETE FROM held_destination WHERE destination = OLD.name;
    RETURN NULL;
END
$$;
CREATE TRIGGER domain_let_go AFTER DELETE ON domain FOR EACH ROW EXECUTE FUNCTION let_go_of_domain();

-- What passed a server in so many minutes; those of two days ago are summed up by the hour, and those of
-- ninety days ago by the day.
CREATE TABLE measure (
    span integer NOT NULL CHECK (span IN (1, 60, 1440)),
    begins_at timestamptz NOT NULL,
    server text NOT NULL,                               -- as in table server
    accepted bigint NOT NULL,                           -- messages, one for each customer
    accepted_bytes bigint NOT NULL,                     -- as received
    refused bigint NOT NULL,                            -- messages, at their end
    relayed bigint NOT NULL,                            -- deliveries
    deferred bigint NOT NULL,                           -- attempts
    failed bigint NOT NULL,                             -- deliveries that were given up
    PRIMARY KEY (span, begins_at, server)
);

-- How it stood at the end of an hour, or of a day in UTC; the last row is how it stands. It is summed up
-- once a minute, since the counters of all customers' days are too many to be added up for a page.
CREATE TABLE standing (
    span integer NOT NULL CHECK (span IN (60, 1440)),
    begins_at timestamptz NOT NULL,
    taken_at timestamptz NOT NULL,
    messages bigint NOT NULL,                           -- in cabinets and cellars
    bytes bigint NOT NULL,                              -- as stored
    queued bigint NOT NULL,
    disk_free bigint,                                   -- the least that a server had
    database_bytes bigint NOT NULL,
    PRIMARY KEY (span, begins_at)
);

-- The queue as it was a moment ago: counting a hundred thousand deliveries takes longer than a page may.
CREATE TABLE queue_snapshot (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    taken_at timestamptz NOT NULL,
    deliveries bigint NOT NULL,
    oldest_at timestamptz,
    ages bigint[] NOT NULL,                             -- storage/backlog.py has their bounds
    unindexed bigint NOT NULL                           -- messages that no search finds yet
);
CREATE TABLE queue_destination (
    destination text PRIMARY KEY,
    deliveries bigint NOT NULL,
    in_hand bigint NOT NULL,                            -- of them, those that a server is about to deliver
    oldest_at timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    last_reply text NOT NULL
) WITH (fillfactor = 50);

-- How each server is, by its own account.
CREATE TABLE server_report (
    server text PRIMARY KEY,
    reported_at timestamptz NOT NULL,
    version text NOT NULL,
    scanner text NOT NULL,
    disks jsonb NOT NULL,                               -- [{what, free, size}]
    certificates jsonb NOT NULL                         -- [{name, ends}]
);

-- Warnings and errors of the log, by what was logged; of what happens again, the last words.
CREATE TABLE mishap (
    server text NOT NULL,
    kind text NOT NULL,                                 -- where in the program, and the words without values
    level text NOT NULL CHECK (level IN ('warn', 'error', 'critical')),
    said text NOT NULL,
    times bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (server, kind)
);
