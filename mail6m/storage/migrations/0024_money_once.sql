-- Money is counted once, however often word of it comes.

-- What entries of statements are known by in other files: with more columns, in another order, of another kind.
ALTER TABLE statement_entry ADD COLUMN account text NOT NULL DEFAULT '';    -- of ours, if it is said
ALTER TABLE statement_entry ADD COLUMN bank text NOT NULL DEFAULT '';       -- the bank's own reference
ALTER TABLE statement_entry ADD COLUMN said text[] NOT NULL DEFAULT '{}';   -- all else, piece by piece
UPDATE statement_entry SET said = array_remove(ARRAY[name, text, reference], '');
CREATE INDEX statement_entry_day ON statement_entry (booked_on);
CREATE INDEX payment_of_entry ON payment (entry) WHERE entry IS NOT NULL;
