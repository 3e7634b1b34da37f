-- A key of the API is somebody's: when that account goes, or may make keys no more, it opens nothing.
ALTER TABLE api_token
    ADD COLUMN account_id integer,                      -- who answers for it; null: nobody any more
    ADD FOREIGN KEY (customer_id, account_id) REFERENCES account (customer_id, account_id)
        ON DELETE SET NULL (account_id);
CREATE INDEX api_token_account ON api_token (customer_id, account_id);
UPDATE api_token t SET account_id = a.account_id FROM account a
WHERE a.customer_id = t.customer_id AND lower(a.email) = lower(t.created_by) AND a.role = 'administrator';
