-- Whom customers' domains take mail for: as their receiving machines say, or by a list of their own.

-- A domain with a list takes mail for those on it, and its machines are not asked.
ALTER TABLE domain
    ADD COLUMN listed integer,                          -- addresses on the list; null: there is none
    ADD COLUMN listed_at timestamptz;

-- Everything here goes with its domain, and so with its customer.
CREATE TABLE listed_recipient (
    customer_id integer NOT NULL,
    domain text NOT NULL,
    local_part text NOT NULL,                           -- in lower case
    PRIMARY KEY (customer_id, domain, local_part),
    FOREIGN KEY (customer_id, domain) REFERENCES domain (customer_id, name) ON DELETE CASCADE
);

-- What receiving machines have said of an address. What they could not say is not here.
CREATE TABLE recipient_verdict (
    customer_id integer NOT NULL,
    domain text NOT NULL,
    local_part text NOT NULL,                           -- as it was given
    taken boolean NOT NULL,
    words text NOT NULL DEFAULT '',                     -- the machine's, if it refuses the address
    asked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (customer_id, domain, local_part),
    FOREIGN KEY (customer_id, domain) REFERENCES domain (customer_id, name) ON DELETE CASCADE
);
CREATE INDEX recipient_verdict_expiry ON recipient_verdict (expires_at);

-- The last question to each domain's machines, whatever came of it.
CREATE TABLE recipient_probe (
    customer_id integer NOT NULL,
    domain text NOT NULL,
    result text NOT NULL,                               -- guard.probes.Result
    words text NOT NULL DEFAULT '',
    probed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, domain),
    FOREIGN KEY (customer_id, domain) REFERENCES domain (customer_id, name) ON DELETE CASCADE
);

-- Another machine has other recipients.
CREATE FUNCTION forget_verdicts() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    DELETE FROM recipient_verdict WHERE customer_id = NEW.customer_id AND domain = NEW.name;
    DELETE FROM recipient_probe WHERE customer_id = NEW.customer_id AND domain = NEW.name;
    RETURN NULL;
END
$$;
CREATE TRIGGER domain_rerouted AFTER UPDATE OF hosts, tls ON domain FOR EACH ROW
    WHEN (OLD.hosts IS DISTINCT FROM NEW.hosts OR OLD.tls IS DISTINCT FROM NEW.tls)
    EXECUTE FUNCTION forget_verdicts();
