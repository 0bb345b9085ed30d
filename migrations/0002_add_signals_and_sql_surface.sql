-- Signals and commands in the inbox, and what applications and people may do in SQL.
--
-- A release that knows only 0001 goes on beside this: its statements name none of the new columns, it reads no mail of the
-- new kinds, and its own mail passes the new checks.

-- The same ids as before, as one expression that the planner can put in place of the call: planning the old one anew in
-- each transaction took longer than inserting the row. 512/125 is 4096/1000: milliseconds and twelve bits of the fraction.
-- A double holds microseconds until the year 2255, and numeric takes longer.
CREATE OR REPLACE FUNCTION everstep.uuidv7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (overlay(lpad(to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint * 512 / 125), 15, '0')
    PLACING '7' FROM 13 FOR 0) || substr(gen_random_uuid()::text, 20))::uuid;

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
CREATE INDEX owners_named ON everstep.owners (namespace, name, kind, accepted_at);

-- The start that an object wished for last: with an idempotencyKey, the run is perhaps another object's.
ALTER TABLE everstep.owners ADD COLUMN start_key text COLLATE "C";

-- The Workflow object that a run without an owner was started from: its retention, suspension and deletion reach the run.
ALTER TABLE everstep.runs ADD COLUMN workflow_uid text COLLATE "C";
CREATE INDEX runs_of_workflow ON everstep.runs (workflow_uid) WHERE workflow_uid IS NOT NULL AND finished_at IS NULL;
-- Pages of a namespace, in the order of run_list.
CREATE INDEX runs_in_namespace ON everstep.runs (namespace, id);

-- Runs that SQL has started and that no worker has met yet: what an application's transaction has to write, and nothing
-- more. Workers make rows of runs, active and audit of them, many in one statement.
CREATE TABLE everstep.arrivals (
  run_id uuid PRIMARY KEY,
  namespace text COLLATE "C" NOT NULL,
  workflow text COLLATE "C" NOT NULL,
  workflow_uid text COLLATE "C" NOT NULL,
  definition_id uuid NOT NULL,
  input json,                                 -- null: the definition's
  actor name NOT NULL,
  at timestamptz NOT NULL
) WITH (                                      -- a row lives for moments, as those of active do
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
    ALTER TABLE everstep.arrivals ALTER COLUMN input SET COMPRESSION lz4;
  END IF;
END
$$;

-- ---------------------------------------------------------------------------------------------------------------------
-- The SQL surface. Applications call it in their own transactions, through any pooler: nothing of a session is used.
--
-- Two gates: whoever may use the schema gets in (grant_namespace), and each call asks `grants` for the namespace. The
-- functions run as their owner, with a fixed search path and qualified names; their arguments name a run or a Workflow,
-- never a kind of mail and never a table.

-- Who calls: the role that was SET, as poolers' clients do, else the one that logged in. Inside a function that runs as its
-- owner, current_user is the owner; this setting is not, and SET ROLE alone can change it.
CREATE FUNCTION everstep.caller() RETURNS name
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE pg_catalog.current_setting('role') WHEN 'none' THEN SESSION_USER
  ELSE pg_catalog.current_setting('role')::name END;

-- Why a value cannot be stored, or null. What a worker's JSON reader refuses would be mail, or a run, that nobody can read:
-- some 100 levels, which take 200 characters; numbers that no double holds, which take 309.
CREATE FUNCTION everstep.unfit(value jsonb, bytes integer, levels integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  size integer := octet_length(value::text);
BEGIN
  RETURN CASE
    WHEN size < 200 THEN NULL
    WHEN size > bytes THEN format('has %s bytes, more than %s', size, bytes)
    WHEN jsonb_path_exists(value, format('strict $.**{%s} ? (@.type() == "object" || @.type() == "array")', levels)::jsonpath)
      THEN format('is nested deeper than %s levels', levels)
    WHEN jsonb_path_exists(value, 'strict $.** ? (@ > 1e308 || @ < -1e308)') THEN 'holds a number beyond 1e308'
  END;
END
$$;

-- \u0000 is legal in stored JSON, and the operators of json and jsonb refuse it.
CREATE FUNCTION everstep.readable(value json) RETURNS json
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(value::text, '\u0000', '\ufffd')::json;

-- Why a start was refused: asked only then, so that a start that works is one statement.
CREATE FUNCTION everstep.refuse_start(workflow text, input jsonb, key text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  ns text := split_part(refuse_start.workflow, '/', 1);
  wf text := split_part(refuse_start.workflow, '/', 2);
  is_suspended boolean;
BEGIN
  IF refuse_start.workflow IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'everstep.start: workflow must not be NULL',
      HINT = 'Name a Workflow as in everstep.start(''shop/order'').';
  END IF;
  IF refuse_start.workflow NOT LIKE '_%/_%' OR refuse_start.workflow LIKE '%/%/%'
     OR octet_length(refuse_start.workflow) > 317 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('everstep.start: workflow %L is not NAMESPACE/NAME', left(refuse_start.workflow, 100)),
      HINT = 'Name a Workflow as in everstep.start(''shop/order'').';
  END IF;
  IF refuse_start.key = '' OR octet_length(refuse_start.key) > 253 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'everstep.start: key is empty or longer than 253 bytes',
      HINT = 'Leave it out for a run at each call.';
  END IF;
  IF NOT EXISTS (SELECT 1 FROM everstep.grants AS g WHERE g.role = everstep.caller() AND g.namespace = ns) THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = format('everstep.start: role %s may not use namespace %s', everstep.caller(), ns),
      HINT = 'An administrator grants it: SELECT everstep.grant_namespace(role, namespace).';
  END IF;
  IF refuse_start.input IS NOT NULL AND everstep.unfit(refuse_start.input, 262144, 100) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
      MESSAGE = 'everstep.start: input ' || everstep.unfit(refuse_start.input, 262144, 100),
      HINT = 'Pass a reference to large data.';
  END IF;
  SELECT o.suspended INTO is_suspended
  FROM everstep.owners AS o
  WHERE o.namespace = ns AND o.name = wf AND o.kind = 'Workflow' AND o.gone_at IS NULL AND o.definition_id IS NOT NULL
  ORDER BY o.accepted_at DESC
  LIMIT 1;
  IF is_suspended THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('everstep.start: Workflow %s is suspended', refuse_start.workflow),
      HINT = 'Set its spec.suspend to false.';
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'no_data_found',
    MESSAGE = format('everstep.start: no Workflow %s is accepted', refuse_start.workflow),
    HINT = 'Look at its Accepted condition: kubectl get workflows.everstep.dev.';
END
$$;

-- A start with a key: whether there is such a run already, another transaction may have to say first.
CREATE FUNCTION everstep.start_once(workflow text, input jsonb, key text) RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  it record;
  run uuid := everstep.uuidv7();
BEGIN
  SELECT o.uid, o.namespace, o.name, o.definition_id, o.suspended INTO it
  FROM everstep.owners AS o
  JOIN everstep.grants AS g ON g.namespace = o.namespace AND g.role = everstep.caller()
  WHERE o.namespace = split_part(start_once.workflow, '/', 1)
    AND o.name = split_part(start_once.workflow, '/', 2) AND o.kind = 'Workflow'
    AND o.gone_at IS NULL AND o.definition_id IS NOT NULL
    AND start_once.workflow NOT LIKE '%/%/%'
    AND octet_length(start_once.key) BETWEEN 1 AND 253
    AND (start_once.input IS NULL OR everstep.unfit(start_once.input, 262144, 100) IS NULL)
  ORDER BY o.accepted_at DESC
  LIMIT 1;
  IF it.suspended IS NOT FALSE THEN
    RETURN NULL;
  END IF;
  -- Waits for another transaction that is starting the same; if that is rolled back, this one starts.
  INSERT INTO everstep.starts (namespace, workflow, start_key, run_id)
  VALUES (it.namespace, it.name, 'key/' || start_once.key, run)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    -- A statement of its own: it sees what this one has waited for.
    SELECT s.run_id INTO STRICT run
    FROM everstep.starts AS s
    WHERE s.namespace = it.namespace AND s.workflow = it.name AND s.start_key = 'key/' || start_once.key;
    RETURN run;
  END IF;
  -- Not by way of arrivals: a start key without a run is a run that was lost, and would be made again.
  WITH born AS (
    INSERT INTO everstep.runs (id, namespace, workflow, workflow_uid, start_key, definition_id, input, trigger)
    VALUES (run, it.namespace, it.name, it.uid, 'key/' || start_once.key, it.definition_id, start_once.input::json, 'SQL')
  ), ready AS (
    INSERT INTO everstep.active (run_id, namespace) VALUES (run, it.namespace)
  )
  INSERT INTO everstep.audit (actor, operation, run_id, epoch)
  VALUES (everstep.caller(), 'started', run, (SELECT epoch FROM everstep.cluster));
  RETURN run;
END
$$;

-- Each expression and each statement of a function costs once a transaction: so a start without a key that works is one
-- statement and one look at what came of it, and all else is asked only then.
--
-- One at a time rings, for NOTIFY takes a lock at commit that is one for the whole server; the others are found by whoever
-- was woken, or by the next poll.
CREATE FUNCTION everstep.start(workflow text, input jsonb DEFAULT NULL, key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  run uuid;
BEGIN
  INSERT INTO everstep.arrivals AS a (run_id, namespace, workflow, workflow_uid, definition_id, input, actor, at)
  SELECT everstep.uuidv7(), o.namespace, o.name, o.uid, o.definition_id, start.input::json, g.role, everstep.now()
  FROM everstep.grants AS g
  CROSS JOIN LATERAL (
    SELECT o.uid, o.namespace, o.name, o.definition_id, o.suspended
    FROM everstep.owners AS o
    WHERE o.namespace = g.namespace
      AND o.name = split_part(start.workflow, '/', 2) AND o.kind = 'Workflow'
      AND o.gone_at IS NULL AND o.definition_id IS NOT NULL
    -- The object that has the name now, of those that had it.
    ORDER BY o.accepted_at DESC
    LIMIT 1
  ) AS o
  WHERE start.key IS NULL
    AND g.role = everstep.caller() AND g.namespace = split_part(start.workflow, '/', 1)
    AND NOT o.suspended
    AND start.workflow NOT LIKE '%/%/%'
    -- What is short is fit: not worth a call.
    AND (start.input IS NULL OR octet_length(start.input::text) < 200
      OR everstep.unfit(start.input, 262144, 100) IS NULL)
  RETURNING a.run_id, CASE WHEN pg_try_advisory_xact_lock(1702258034, 1) THEN pg_notify('everstep_work', '') END
  INTO run;
  IF run IS NULL THEN
    IF start.key IS NOT NULL THEN
      run := everstep.start_once(start.workflow, start.input, start.key);
    END IF;
    IF run IS NULL THEN
      PERFORM everstep.refuse_start(start.workflow, start.input, start.key);
    END IF;
    IF pg_try_advisory_xact_lock(1702258034, 1) THEN
      PERFORM pg_notify('everstep_work', '');
    END IF;
  END IF;
  RETURN run;
END
$$;

-- The phase of a run in a namespace that the caller may use. Whether a run of another namespace exists is not told.
CREATE FUNCTION everstep.phase_for_caller(operation text, run uuid) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  phase text;
BEGIN
  -- One statement: a run moves from one table to the other at once, and one of both has it.
  SELECT r.phase INTO phase
  FROM (
    SELECT r.namespace, r.phase FROM everstep.runs AS r WHERE r.id = phase_for_caller.run
    UNION ALL
    SELECT a.namespace, 'Pending' FROM everstep.arrivals AS a WHERE a.run_id = phase_for_caller.run
  ) AS r
  JOIN everstep.grants AS g ON g.namespace = r.namespace AND g.role = everstep.caller();
  IF phase IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found',
      MESSAGE = format('everstep.%s: role %s has no run %s', operation, everstep.caller(), coalesce(run::text, 'NULL')),
      HINT = 'It does not exist, or its namespace is not granted: everstep.grant_namespace(role, namespace).';
  END IF;
  RETURN phase;
END
$$;

CREATE FUNCTION everstep.signal(run uuid, signal text, payload jsonb, dedup_key text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  phase text;
  letter_key text := coalesce(signal.dedup_key, 'sql/' || gen_random_uuid());
  why text;
  is_same boolean;
BEGIN
  IF signal.run IS NULL OR signal.signal IS NULL OR signal.payload IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
      MESSAGE = 'everstep.signal: run, signal and payload must not be NULL',
      HINT = 'A signal without content has the payload ''null''::jsonb.';
  END IF;
  IF signal.signal = '' OR octet_length(signal.signal) > 253 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'everstep.signal: signal is empty or longer than 253 bytes',
      HINT = 'Name what the step waits for: waitForSignal.signal.';
  END IF;
  IF signal.dedup_key = '' OR octet_length(signal.dedup_key) > 253 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'everstep.signal: dedup_key is empty or longer than 253 bytes',
      HINT = 'Leave it out for a signal at each call.';
  END IF;
  why := everstep.unfit(signal.payload, 65536, 99);
  IF why IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'everstep.signal: payload ' || why,
      HINT = 'Pass a reference to large data.';
  END IF;
  phase := everstep.phase_for_caller('signal', signal.run);

  IF phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'TimedOut') THEN
    WITH stored AS (
      INSERT INTO everstep.inbox AS i (run_id, kind, signal, dedup_key, payload, by)
      VALUES (signal.run, 'Signal', signal.signal, letter_key, signal.payload::json, everstep.caller())
      -- Waits for another transaction that sends the same; if that is rolled back, this one is stored.
      ON CONFLICT DO NOTHING
      RETURNING i.run_id
    )
    INSERT INTO everstep.audit (actor, operation, run_id, epoch, detail)
    SELECT everstep.caller(), 'signal', run_id, (SELECT epoch FROM everstep.cluster),
      json_build_object('signal', signal.signal)
    FROM stored;
    IF FOUND THEN
      IF pg_try_advisory_xact_lock(1702258034, 2) THEN
        PERFORM pg_notify('everstep_mail', '');
      END IF;
      RETURN 'Stored';
    END IF;
  END IF;

  SELECT i.signal = signal.signal AND everstep.readable(i.payload)::jsonb = everstep.readable(signal.payload::json)::jsonb
  INTO is_same
  FROM everstep.inbox AS i
  WHERE i.run_id = signal.run AND i.kind = 'Signal' AND i.dedup_key = letter_key;
  IF is_same IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('everstep.signal: run %s is over (%s)', signal.run, phase),
      HINT = 'Nobody waits for the signal any more.';
  END IF;
  RETURN CASE WHEN is_same THEN 'Duplicate' ELSE 'DuplicateDiffers' END;
END
$$;

-- A command in a run's inbox, on record. The same key again changes nothing: saying it twice equals once.
CREATE FUNCTION everstep.send_command(kind text, run uuid, dedup_key text, payload json) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  WITH sent AS (
    INSERT INTO everstep.inbox AS i (run_id, kind, dedup_key, payload, by)
    VALUES (send_command.run, send_command.kind, send_command.dedup_key, send_command.payload, everstep.caller())
    ON CONFLICT DO NOTHING
    RETURNING i.run_id
  )
  INSERT INTO everstep.audit (actor, operation, run_id, epoch, detail)
  SELECT everstep.caller(), lower(send_command.kind), sent.run_id, (SELECT c.epoch FROM everstep.cluster AS c),
    send_command.payload
  FROM sent;
  IF FOUND AND pg_try_advisory_xact_lock(1702258034, 2) THEN
    PERFORM pg_notify('everstep_mail', '');
  END IF;
END
$$;

-- Tells a run to end, by mail of the kind Cancel or Terminate.
CREATE FUNCTION everstep.tell_to_end(kind text, run uuid, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  operation text := lower(tell_to_end.kind);
  phase text;
BEGIN
  IF tell_to_end.run IS NULL OR tell_to_end.reason IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
      MESSAGE = format('everstep.%s: run and reason must not be NULL', operation),
      HINT = 'The reason is shown to people.';
  END IF;
  IF tell_to_end.reason = '' OR octet_length(tell_to_end.reason) > 1024 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('everstep.%s: reason is empty or longer than 1024 bytes', operation),
      HINT = 'The reason is shown to people.';
  END IF;
  phase := everstep.phase_for_caller(operation, tell_to_end.run);
  IF phase IN ('Succeeded', 'Failed', 'Cancelled', 'TimedOut') THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('everstep.%s: run %s is over (%s)', operation, tell_to_end.run, phase),
      HINT = format('There is nothing left to %s.', operation);
  END IF;
  PERFORM everstep.send_command(tell_to_end.kind, tell_to_end.run, 'sql', json_build_object('reason', tell_to_end.reason));
END
$$;

CREATE FUNCTION everstep.cancel(run uuid, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM everstep.tell_to_end('Cancel', cancel.run, cancel.reason);
END
$$;

-- Ends also what a compensation that failed has parked: nothing is undone any more.
CREATE FUNCTION everstep.terminate(run uuid, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM everstep.tell_to_end('Terminate', terminate.run, terminate.reason);
END
$$;

-- What failed begins afresh, of a run that stands still after a failure.
CREATE FUNCTION everstep.retry(run uuid, from_step text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  phase text;
  stalled text;
  still_since integer;
BEGIN
  IF retry.run IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'everstep.retry: run must not be NULL';
  END IF;
  IF retry.from_step = '' OR octet_length(retry.from_step) > 253 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'everstep.retry: from_step is empty or longer than 253 bytes',
      HINT = 'Leave it out for the step that failed.';
  END IF;
  phase := everstep.phase_for_caller('retry', retry.run);
  IF phase IN ('Succeeded', 'Failed', 'Cancelled', 'TimedOut') THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('everstep.retry: run %s is over (%s)', retry.run, phase),
      HINT = 'Start another run: everstep.start(workflow, input).';
  END IF;
  SELECT everstep.readable(r.summary) ->> 'stalled', r.summary_seq INTO stalled, still_since
  FROM everstep.runs AS r
  WHERE r.id = retry.run;
  IF stalled IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('everstep.retry: run %s does not stand still after a failure (%s)', retry.run, phase),
      HINT = 'What can be retried is a run that waits for it: onFailure: Pause, or a compensation that failed.';
  END IF;
  -- One key for each time that it stands still.
  PERFORM everstep.send_command('Retry', retry.run, 'sql/' || still_since || '/' || coalesce(retry.from_step, ''),
    json_build_object('from', retry.from_step));
END
$$;

-- For administrators: nobody but the owner may call it, unless the owner grants EXECUTE.
CREATE FUNCTION everstep.grant_namespace(role text, namespace text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF grant_namespace.role IS NULL OR grant_namespace.namespace IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
      MESSAGE = 'everstep.grant_namespace: role and namespace must not be NULL';
  END IF;
  IF grant_namespace.namespace !~ '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('everstep.grant_namespace: %L is no name of a namespace', left(grant_namespace.namespace, 100)),
      HINT = 'At most 63 lower-case letters, digits and hyphens.';
  END IF;
  -- Compared as text: a cast to name would cut a long one, and name another role.
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname::text = grant_namespace.role) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = format('everstep.grant_namespace: role %L does not exist', left(grant_namespace.role, 100)),
      HINT = 'Create it first: CREATE ROLE …. PUBLIC cannot be granted a namespace.';
  END IF;
  -- Two at once would both write the schema's rights.
  PERFORM pg_advisory_xact_lock(1702258034, 0);
  IF NOT EXISTS (
    SELECT 1
    FROM pg_namespace AS n
    CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
    JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE n.nspname = 'everstep' AND a.privilege_type = 'USAGE' AND r.rolname::text = grant_namespace.role
  ) THEN
    -- Grants go by name. Without a right of its own (DROP OWNED took it), what is there was another role's.
    DELETE FROM everstep.grants AS g WHERE g.role::text = grant_namespace.role;
    EXECUTE format('GRANT USAGE ON SCHEMA everstep TO %I', grant_namespace.role);
  END IF;
  INSERT INTO everstep.grants (role, namespace)
  VALUES (grant_namespace.role::name, grant_namespace.namespace)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  INSERT INTO everstep.audit (actor, operation, epoch, detail)
  VALUES (everstep.caller(), 'grant', (SELECT epoch FROM everstep.cluster),
    json_build_object('role', grant_namespace.role, 'namespace', grant_namespace.namespace));
END
$$;

CREATE FUNCTION everstep.revoke_namespace(role text, namespace text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(1702258034, 0);
  DELETE FROM everstep.grants AS g
  WHERE g.role::text = revoke_namespace.role AND g.namespace = revoke_namespace.namespace;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = format('everstep.revoke_namespace: role %L has no grant of namespace %L',
        left(revoke_namespace.role, 100), left(revoke_namespace.namespace, 100)),
      HINT = 'SELECT * FROM everstep.grants shows the grants.';
  END IF;
  -- In here the current user is the schema's owner: it would lose its own way in, and with it the engine.
  IF revoke_namespace.role <> CURRENT_USER::text
     AND EXISTS (SELECT 1 FROM pg_roles WHERE rolname::text = revoke_namespace.role)
     AND NOT EXISTS (SELECT 1 FROM everstep.grants AS g WHERE g.role::text = revoke_namespace.role) THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA everstep FROM %I', revoke_namespace.role);
  END IF;
  INSERT INTO everstep.audit (actor, operation, epoch, detail)
  VALUES (everstep.caller(), 'revoke', (SELECT epoch FROM everstep.cluster),
    json_build_object('role', revoke_namespace.role, 'namespace', revoke_namespace.namespace));
END
$$;

-- ---------------------------------------------------------------------------------------------------------------------
-- What people and dashboards read: rows of granted namespaces only. Page by the key that each view names, newest runs
-- first: WHERE id < $last ORDER BY id DESC LIMIT 50. Ids grow with time. The order within a view is what lets such a page be
-- read from the index: the planner does not look through a security barrier.

-- Key: id.
CREATE VIEW everstep.run_list WITH (security_barrier) AS
SELECT r.id, r.namespace, r.workflow, r.owner_kind, r.owner_name, r.start_key, r.trigger, r.phase, r.reason,
  everstep.readable(r.summary) ->> 'step' AS step,
  everstep.readable(r.summary) ->> 'waitingFor' AS waiting_for,
  everstep.readable(r.summary) ->> 'progress' AS progress,
  (everstep.readable(r.summary) ->> 'attempts')::bigint AS attempts,
  everstep.readable(r.summary) -> 'error' AS error,
  everstep.readable(r.summary) -> 'output' AS output,
  r.deadline, r.created_at, r.started_at, r.finished_at
FROM (
  SELECT r.id, r.namespace, r.workflow, r.owner_kind, r.owner_name, r.start_key, r.trigger, r.phase, r.reason, r.summary,
    r.deadline, r.created_at, r.started_at, r.finished_at
  FROM everstep.runs AS r
  UNION ALL
  SELECT a.run_id, a.namespace, a.workflow, NULL, NULL, 'sql/' || a.run_id, 'SQL', 'Pending', NULL, NULL,
    NULL, a.at, NULL, NULL
  FROM everstep.arrivals AS a
) AS r
WHERE r.namespace = ANY (ARRAY(SELECT g.namespace FROM everstep.grants AS g WHERE g.role = everstep.caller()))
ORDER BY r.id DESC;

-- One row for each event. Key: run_id, seq, place.
CREATE VIEW everstep.run_history WITH (security_barrier) AS
SELECT j.run_id, r.namespace, r.workflow, j.seq, e.place::integer AS place, j.at,
  -- An event without content is a string.
  CASE json_typeof(e.event) WHEN 'string' THEN e.event #>> '{}'
    ELSE (SELECT k FROM json_object_keys(e.event) AS k LIMIT 1) END AS event,
  CASE json_typeof(e.event) WHEN 'object' THEN (SELECT v.value FROM json_each(e.event) AS v LIMIT 1) END AS detail
FROM everstep.journal AS j
JOIN everstep.runs AS r ON r.id = j.run_id
CROSS JOIN LATERAL json_array_elements(everstep.readable(j.events)) WITH ORDINALITY AS e (event, place)
WHERE r.namespace = ANY (ARRAY(SELECT g.namespace FROM everstep.grants AS g WHERE g.role = everstep.caller()))
ORDER BY j.run_id, j.seq, e.place;

-- One row for each step that has begun or was skipped, and for each compensation (deed Undo), as far as the journal is
-- kept. Key: run_id, begun_seq, step, deed.
CREATE VIEW everstep.step_list WITH (security_barrier) AS
SELECT r.id AS run_id, r.namespace, r.workflow, s.step, s.deed, s.begun_seq,
  CASE s.latest
    WHEN 'StepSucceeded' THEN 'Succeeded' WHEN 'StepFailed' THEN 'Failed' WHEN 'StepSkipped' THEN 'Skipped'
    WHEN 'StepCancelled' THEN 'Cancelled' WHEN 'StepTimedOut' THEN 'TimedOut'
    ELSE 'Open' END AS status,
  s.attempts, s.begun_at, CASE WHEN s.is_over THEN s.latest_at END AS ended_at, s.error
FROM everstep.runs AS r
CROSS JOIN LATERAL (
  SELECT e.step, e.deed, min(e.seq) AS begun_seq, min(e.at) AS begun_at,
    (max((e.detail ->> 'attempt')::bigint) FILTER (WHERE e.event = 'StepStarted'))::integer AS attempts,
    -- What failed and is retried by hand is open again.
    (array_agg(e.event ORDER BY e.seq DESC, e.place DESC))[1] AS latest,
    (array_agg(e.ends ORDER BY e.seq DESC, e.place DESC))[1] AS is_over,
    max(e.at) AS latest_at,
    (array_agg(e.detail -> 'error' ORDER BY e.seq DESC, e.place DESC) FILTER (WHERE e.detail -> 'error' IS NOT NULL))[1]
      AS error
  FROM (
    SELECT j.seq, j.at, list.place, one.event, one.detail, one.detail ->> 'step' AS step,
      coalesce(one.detail ->> 'deed', 'Do') AS deed,
      one.event IN ('StepSucceeded', 'StepFailed', 'StepSkipped', 'StepCancelled', 'StepTimedOut') AS ends
    FROM everstep.journal AS j
    CROSS JOIN LATERAL json_array_elements(everstep.readable(j.events)) WITH ORDINALITY AS list (value, place)
    CROSS JOIN LATERAL json_each(CASE json_typeof(list.value) WHEN 'object' THEN list.value ELSE '{}' END)
      AS one (event, detail)
    WHERE j.run_id = r.id AND one.event ~ '^(Step|Attempt|TimerArmed|SignalAwaited)'
  ) AS e
  WHERE e.step IS NOT NULL
  GROUP BY e.step, e.deed
) AS s
WHERE r.namespace = ANY (ARRAY(SELECT g.namespace FROM everstep.grants AS g WHERE g.role = everstep.caller()))
ORDER BY r.id, s.begun_seq, s.step, s.deed;

-- Whoever gets into the schema may call and read these, and no table.
REVOKE ALL ON ALL TABLES IN SCHEMA everstep FROM PUBLIC;
REVOKE ALL ON FUNCTION everstep.grant_namespace(text, text), everstep.revoke_namespace(text, text),
  everstep.phase_for_caller(text, uuid), everstep.refuse_start(text, jsonb, text),
  everstep.start_once(text, jsonb, text), everstep.tell_to_end(text, uuid, text),
  everstep.send_command(text, uuid, text, json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION everstep.start(text, jsonb, text), everstep.signal(uuid, text, jsonb, text),
  everstep.cancel(uuid, text), everstep.terminate(uuid, text), everstep.retry(uuid, text), everstep.caller(),
  everstep.readable(json), everstep.uuidv7() TO PUBLIC;
GRANT SELECT ON everstep.run_list, everstep.run_history, everstep.step_list TO PUBLIC;
