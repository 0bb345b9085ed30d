-- A worker may hold a run that it cannot carry: its definition does not compile under that release, or its rows cannot be read
-- or written. It says so again and again, and each time for a while, so that what nobody says any more is not so.
--
-- A release that knows only the earlier ones goes on beside this: it neither reads nor writes the column.
ALTER TABLE everstep.active ADD COLUMN aside_until timestamptz;
