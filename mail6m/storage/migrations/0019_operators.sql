-- Those who run Mail6M: whose console they see, and what everybody did, in one list.

-- An operator sees the console as a customer does, until it is left or time is up.
ALTER TABLE session
    ADD COLUMN viewing integer,                         -- the customer
    ADD COLUMN viewing_until timestamptz,
    ADD COLUMN viewing_by text NOT NULL DEFAULT '';     -- the operator's address, when all else is gone

-- What operators do to a customer's things stands in the customer's audit.
ALTER TABLE audit ADD COLUMN by_house boolean NOT NULL DEFAULT false;

-- However it ends, by a button, by time, with the session or with the account, it is noted for both.
CREATE FUNCTION view_ended() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    INSERT INTO audit (customer_id, at, account, client_address, act, object, by_house)
    SELECT customer_id, least(now(), OLD.viewing_until), OLD.viewing_by, OLD.client_address,
           'console left', CASE WHEN customer_id = 0 THEN OLD.viewing::text ELSE '' END, true
    FROM customer WHERE customer_id IN (0, OLD.viewing);
    RETURN NULL;
END
$$;
CREATE TRIGGER session_view_left AFTER UPDATE OF viewing ON session
    FOR EACH ROW WHEN (OLD.viewing IS NOT NULL AND NEW.viewing IS DISTINCT FROM OLD.viewing)
    EXECUTE FUNCTION view_ended();
CREATE TRIGGER session_view_gone AFTER DELETE ON session
    FOR EACH ROW WHEN (OLD.viewing IS NOT NULL) EXECUTE FUNCTION view_ended();

-- The journal of all: newest first, of a customer, of an account, of an act.
CREATE INDEX audit_newest ON audit (at, audit_id);
CREATE INDEX audit_of_customer ON audit (customer_id, at, audit_id);
CREATE INDEX audit_of_account ON audit (lower(account), at, audit_id);
CREATE INDEX audit_of_act ON audit (act, at, audit_id);
