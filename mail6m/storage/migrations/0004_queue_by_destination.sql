-- A customer's queue is found by destination, like everything else in it: this index was work for every
-- delivery, for a page that is looked at now and then.

DROP INDEX delivery_waiting;
