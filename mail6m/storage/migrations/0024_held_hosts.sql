-- Hosts that operators hold: what goes on to them waits, of whichever domain, and whenever that says so.
CREATE TABLE held_host (
    host text PRIMARY KEY,
    held_at timestamptz NOT NULL DEFAULT now(),
    held_by text NOT NULL
);
ALTER TABLE held_destination
    ADD COLUMN host text,                               -- it is held since that host is
    ADD COLUMN let_go_at timestamptz,                   -- since when what was held is being let go
    ADD COLUMN held_again timestamptz;                  -- let_go_at as it was when it was held again

-- As they are looked for: without their ports.
CREATE FUNCTION host_names(hosts text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS
$$
    SELECT coalesce(array_agg(DISTINCT name), '{}')
    FROM unnest(hosts) h, unnest(ARRAY[h, regexp_replace(h, ':[0-9]+$', '')]) name
$$;

-- Whoever holds a host waits for those who declare a domain just now, and they for it.
CREATE FUNCTION hold_by_host() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(x'686f6c64'::bigint);
    INSERT INTO held_destination AS h (destination, held_by, host)
    SELECT NEW.name, held_by, host FROM held_host
    WHERE host = ANY (host_names(NEW.hosts)) ORDER BY host LIMIT 1
    ON CONFLICT (destination) DO UPDATE
    SET host = EXCLUDED.host, let_go_at = NULL, held_again = h.let_go_at
    WHERE h.let_go_at IS NOT NULL;                      -- what was being let go is held by this host now
    IF FOUND THEN
        PERFORM pg_notify('mail6m_queue', '');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER domain_held_by_host AFTER INSERT OR UPDATE OF hosts ON domain
FOR EACH ROW EXECUTE FUNCTION hold_by_host();
