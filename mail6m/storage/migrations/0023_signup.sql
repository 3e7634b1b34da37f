-- Who wants to become a customer: until the address has confirmed it, and where an operator decides,
-- until that.
CREATE TABLE signup (
    signup_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE,                       -- SHA-256
    email text NOT NULL,
    company text NOT NULL,
    last_name text NOT NULL,
    first_name text NOT NULL,
    plan text NOT NULL,
    language text NOT NULL,
    password_hash text NOT NULL,                            -- Argon2
    client_address text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    confirmed_at timestamptz                                -- it waits for an operator
);
CREATE INDEX signup_email ON signup (lower(email));

-- The last session with each machine of a domain that brought it nothing, to see whether it takes mail.
CREATE TABLE domain_trial (
    customer_id integer NOT NULL,
    domain text NOT NULL,
    hosts text[] NOT NULL,                                  -- what it was tried with
    tls text NOT NULL,
    findings text[] NOT NULL,                               -- delivery.conversation.Finding, of each host
    tried_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, domain),
    FOREIGN KEY (customer_id, domain) REFERENCES domain (customer_id, name) ON DELETE CASCADE
);
