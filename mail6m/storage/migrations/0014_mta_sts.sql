-- What other servers are told about the encryption of mail to a domain (RFC 8461, RFC 8460).

ALTER TABLE domain
    -- Null: there has never been a policy. 'none' is one, for those who remember another.
    ADD COLUMN sts text CHECK (sts IN ('none', 'testing', 'enforce')),
    -- Where reports about TLS go; empty: nobody has said.
    ADD COLUMN tls_reports text NOT NULL DEFAULT '';
