-- Signals and commands in the inbox, and what applications and people may do in SQL.
--
-- A release that knows only 0001 goes on beside this: its statements name none of the new columns, it reads no mail of the
-- new kinds, and its own mail passes the new checks.

-- What became of a signal is shown in its object's status.
ALTER TABLE everstep.inbox ADD COLUMN shown boolean NOT NULL DEFAULT false;

-- Mail that cannot be read would wake its run for ever. Not validated: no older row has such a kind, and reading them all
-- would hold up the writers.
ALTER TABLE everstep.inbox
  ADD CONSTRAINT inbox_command_is_readable CHECK (CASE kind
    WHEN 'Terminate' THEN coalesce(json_typeof(payload -> 'reason') = 'string', false)
    WHEN 'Pause' THEN coalesce(payload ->> 'generation' = generation::text, false)
    WHEN 'Resume' THEN coalesce(payload ->> 'generation' = generation::text, false)
    WHEN 'Retry' THEN json_typeof(payload) = 'object' AND coalesce(json_typeof(payload -> 'from'), 'null') IN ('null', 'string')
    ELSE true END) NOT VALID,
  ADD CONSTRAINT inbox_signal_is_bounded CHECK (kind <> 'Signal' OR signal IS NOT NULL AND signal <> ''
    AND octet_length(signal) <= 253 AND octet_length(dedup_key) <= 512 AND octet_length(payload::text) <= 65536) NOT VALID;

-- One row for each Signal object, whatever run it aims at when it is posted again.
CREATE UNIQUE INDEX inbox_of_object ON everstep.inbox (source_uid) WHERE kind = 'Signal' AND source_uid IS NOT NULL;
CREATE INDEX inbox_unshown ON everstep.inbox (id)
  WHERE kind = 'Signal' AND source_uid IS NOT NULL AND outcome IS NOT NULL AND NOT shown;

-- Objects by name: targets of signals, and Workflows that are started by name.
CREATE INDEX owners_named ON everstep.owners (namespace, name, kind);
