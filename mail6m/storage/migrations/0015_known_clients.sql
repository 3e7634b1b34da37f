-- Clients that have waited for their banner and then brought mail: they need not wait again for a time.
-- They are nobody's customers: whatever customers they write to, they are the same machines.

CREATE TABLE known_client (
    client text PRIMARY KEY,                            -- an IPv4 address, or an IPv6 /64
    known_until timestamptz NOT NULL
);
CREATE INDEX known_client_until ON known_client (known_until);
