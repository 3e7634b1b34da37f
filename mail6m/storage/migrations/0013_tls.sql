-- TLS on the way out: what senders ask for, and domains that mail goes to.

-- What domains say about TLS on their MX (MTA-STS, RFC 8461), so that a restart forgets none of it. The
-- domains are nobody's: mail that Mail6M itself writes goes there.
CREATE TABLE sts_policy (
    domain text PRIMARY KEY,
    -- The id that the DNS had when it was fetched.
    id text NOT NULL,
    mode text NOT NULL,
    mx text[] NOT NULL,
    fetched_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sts_policy_expiry ON sts_policy (expires_at);

-- REQUIRETLS (RFC 8689): the message must not go on but to a verified host that asks the same of the next.
ALTER TABLE message ADD COLUMN requiretls boolean NOT NULL DEFAULT false;
