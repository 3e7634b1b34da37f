-- Sign-ups that no letter went for, since the address had had one: a letter of the same address confirms them.
ALTER TABLE signup ALTER COLUMN token_hash DROP NOT NULL;
