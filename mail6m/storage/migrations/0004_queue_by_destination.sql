-- A customer's queue is found by destination, like everything else in it: this index cost the hot path
-- a tenth of its rate, for a page that is looked at now and then.

DROP INDEX delivery_waiting;
