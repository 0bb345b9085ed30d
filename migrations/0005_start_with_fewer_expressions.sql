-- A start is one statement of one transaction, and most of its time goes into setting up its plan: every expression and every
-- node of it costs, whether it decides anything or not. Here it has as few as it can, and answers as before.

-- Workflows by the name that a start gives, newest last. What the predicate says is not asked again of a row.
CREATE INDEX owners_startable ON everstep.owners ((namespace || '/' || name), accepted_at)
  WHERE kind = 'Workflow' AND gone_at IS NULL AND definition_id IS NOT NULL;

-- As before, in fewer steps. 4096 a millisecond are the milliseconds and twelve bits of the fraction, in 14 digits until the
-- year 2527; a double holds them exactly enough, as it holds microseconds.
CREATE OR REPLACE FUNCTION everstep.uuidv7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (overlay('0' || to_hex((date_part('epoch', clock_timestamp()) * 4096000)::bigint) PLACING '7' FROM 13 FOR 0)
    || substr(gen_random_uuid()::text, 20))::uuid;

CREATE OR REPLACE FUNCTION everstep.caller() RETURNS name
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(pg_catalog.current_setting('role'), 'none')::name, SESSION_USER);

-- As before: a start without a key that works is one statement and one look at what came of it. No name holds a slash, so a
-- Workflow that is named with two of them is not found.
CREATE OR REPLACE FUNCTION everstep.start(workflow text, input jsonb DEFAULT NULL, key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  run uuid;
  size integer;
BEGIN
  INSERT INTO everstep.arrivals AS a (run_id, namespace, workflow, workflow_uid, definition_id, input, actor, at)
  SELECT everstep.uuidv7(), o.namespace, o.name, o.uid, o.definition_id, start.input::json, g.role, everstep.now()
  FROM (
    SELECT o.uid, o.namespace, o.name, o.definition_id,
      -- Compared with the grants rather than filtered by: that would be one more node.
      CASE WHEN NOT o.suspended THEN o.namespace END AS open_namespace
    FROM everstep.owners AS o
    WHERE o.namespace || '/' || o.name = CASE WHEN start.key IS NULL THEN start.workflow END
      AND o.kind = 'Workflow' AND o.gone_at IS NULL AND o.definition_id IS NOT NULL
    -- The object that has the name now, of those that had it.
    ORDER BY o.accepted_at DESC
    LIMIT 1
  ) AS o
  JOIN everstep.grants AS g ON g.namespace = o.open_namespace AND g.role = everstep.caller()
  RETURNING a.run_id, octet_length(a.input::text),
    CASE WHEN pg_try_advisory_xact_lock(1702258034, 1) THEN pg_notify('everstep_work', '') END
  INTO run, size;
  IF run IS NULL OR size >= 200 THEN
    IF run IS NULL AND start.key IS NOT NULL THEN
      run := everstep.start_once(start.workflow, start.input, start.key);
      IF run IS NOT NULL AND pg_try_advisory_xact_lock(1702258034, 1) THEN
        PERFORM pg_notify('everstep_work', '');
      END IF;
    END IF;
    -- What is short is fit: not worth a call. An exception takes the row away again.
    IF run IS NULL OR size >= 200 AND everstep.unfit(start.input, 262144, 100) IS NOT NULL THEN
      PERFORM everstep.refuse_start(start.workflow, start.input, start.key);
    END IF;
  END IF;
  RETURN run;
END
$$;
