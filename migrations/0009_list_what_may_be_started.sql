-- A start asks one table what its caller may start, where it asked two and joined them, and takes its id from fewer functions:
-- setting up the plan of its one statement is most of what a transaction of one start costs.
--
-- A release that knows only the earlier ones goes on beside this: triggers keep the table, whoever writes what it follows from.

-- As before, without the server's cryptographic source, which took longer than the rest of the expression: 52 random bits
-- of this process, and its number in the lowest ones. Two ids of one microsecond are different processes', or two draws of one;
-- an application that calls setseed draws what others draw, and has another number.
CREATE OR REPLACE FUNCTION everstep.uuidv7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
RETURN (overlay('0' || to_hex((date_part('epoch', clock_timestamp()) * 4096000)::bigint) PLACING '7' FROM 13 FOR 0)
    -- From the variant on: less than a quarter of all, above the lowest.
    || to_hex((random() * 4611686018423193600)::bigint + '-9223372036854775808'::bigint + pg_backend_pid()))::uuid;

-- What follows from `owners` and `grants`: accepted Workflows that are not suspended, once for each role that was granted their
-- namespace. The functions below write it, and nobody else.
CREATE TABLE everstep.startable (
  workflow text COLLATE "C" NOT NULL,         -- as a start names it: NAMESPACE/NAME
  role name NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  uid text COLLATE "C" NOT NULL,
  definition_id uuid NOT NULL,
  PRIMARY KEY (workflow, role)
) WITH (fillfactor = 80);                     -- a new definition stays on the row's own page

-- Lists these Workflows anew.
CREATE FUNCTION everstep.list_startable(workflows text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    -- It would list what an old snapshot shows.
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
      MESSAGE = format('everstep: grants and Workflows do not change in a transaction of the isolation level %s',
        current_setting('transaction_isolation')),
      HINT = 'Use READ COMMITTED.';
  END IF;
  WITH wanted AS (
    SELECT o.workflow, g.role, o.namespace, o.name, o.uid, o.definition_id
    FROM (
      -- The object that has the name now, of those that had it.
      SELECT DISTINCT ON (o.namespace || '/' || o.name) o.namespace || '/' || o.name AS workflow, o.namespace, o.name, o.uid,
        o.definition_id, o.suspended
      FROM everstep.owners AS o
      WHERE o.namespace || '/' || o.name = ANY (list_startable.workflows)
        AND o.kind = 'Workflow' AND o.gone_at IS NULL AND o.definition_id IS NOT NULL
      ORDER BY o.namespace || '/' || o.name, o.accepted_at DESC
    ) AS o
    JOIN everstep.grants AS g ON g.namespace = o.namespace
    WHERE NOT o.suspended
  ), unlisted AS (
    DELETE FROM everstep.startable AS s
    WHERE s.workflow = ANY (list_startable.workflows)
      AND NOT EXISTS (SELECT FROM wanted AS w WHERE w.workflow = s.workflow AND w.role = s.role)
  )
  INSERT INTO everstep.startable AS s (workflow, role, namespace, name, uid, definition_id)
  SELECT w.workflow, w.role, w.namespace, w.name, w.uid, w.definition_id
  FROM wanted AS w
  -- What is listed already is left alone: a conflict would hold its row until the commit.
  WHERE NOT EXISTS (
    SELECT FROM everstep.startable AS t
    WHERE t.workflow = w.workflow AND t.role = w.role AND t.uid = w.uid AND t.definition_id = w.definition_id)
  ON CONFLICT (workflow, role) DO UPDATE SET uid = excluded.uid, definition_id = excluded.definition_id;
END
$$;

-- One at a time until its commit: each that lists reads, in a statement after this one, what the ones before it have left. So
-- what is listed follows from both tables, in whatever order transactions change them.
CREATE FUNCTION everstep.lock_startable() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
RETURN pg_advisory_xact_lock(1702258034, 3);

-- Once a statement. Most of them change nothing that a start asks for: those of WorkflowRuns and of the orphan pass.
CREATE FUNCTION everstep.owners_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changed text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT array_agg(n.namespace || '/' || n.name) INTO changed
    FROM new_rows AS n
    WHERE n.kind = 'Workflow' AND n.definition_id IS NOT NULL;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(o.namespace || '/' || o.name) INTO changed
    FROM old_rows AS o
    WHERE o.kind = 'Workflow' AND o.gone_at IS NULL AND o.definition_id IS NOT NULL;
  ELSE
    SELECT array_agg(had_or_has.workflow) INTO changed
    FROM old_rows AS o
    JOIN new_rows AS n ON n.uid = o.uid
    CROSS JOIN LATERAL unnest(ARRAY[o.namespace || '/' || o.name, n.namespace || '/' || n.name]) AS had_or_has (workflow)
    WHERE 'Workflow' IN (o.kind, n.kind)
      AND (o.kind, o.namespace, o.name, o.definition_id, o.suspended, o.gone_at, o.accepted_at)
        IS DISTINCT FROM (n.kind, n.namespace, n.name, n.definition_id, n.suspended, n.gone_at, n.accepted_at);
  END IF;
  IF changed IS NOT NULL THEN
    PERFORM everstep.lock_startable();
    PERFORM everstep.list_startable(changed);
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER owners_inserted AFTER INSERT ON everstep.owners
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION everstep.owners_changed();
CREATE TRIGGER owners_updated AFTER UPDATE ON everstep.owners
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION everstep.owners_changed();
CREATE TRIGGER owners_deleted AFTER DELETE ON everstep.owners
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION everstep.owners_changed();

CREATE FUNCTION everstep.grants_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF TG_NAME = 'grants_committed' THEN
    PERFORM everstep.lock_startable();
  END IF;
  PERFORM everstep.list_startable(ARRAY (
    SELECT o.namespace || '/' || o.name
    FROM everstep.owners AS o
    WHERE o.kind = 'Workflow' AND (o.namespace = OLD.namespace OR o.namespace = NEW.namespace)));
  RETURN NULL;
END
$$;
-- Locked with the commit only: an administrator's transaction that stays open keeps no controller from accepting Workflows.
CREATE CONSTRAINT TRIGGER grants_committed AFTER INSERT OR UPDATE OR DELETE ON everstep.grants
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION everstep.grants_changed();
-- The transaction that grants may start, too: nobody else sees that grant, nor writes the rows that follow from it.
CREATE TRIGGER grants_given AFTER INSERT ON everstep.grants FOR EACH ROW EXECUTE FUNCTION everstep.grants_changed();

CREATE FUNCTION everstep.nothing_is_startable() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  TRUNCATE everstep.startable;
  RETURN NULL;
END
$$;
CREATE TRIGGER owners_truncated AFTER TRUNCATE ON everstep.owners EXECUTE FUNCTION everstep.nothing_is_startable();
CREATE TRIGGER grants_truncated AFTER TRUNCATE ON everstep.grants EXECUTE FUNCTION everstep.nothing_is_startable();

REVOKE ALL ON FUNCTION everstep.list_startable(text[]), everstep.lock_startable(), everstep.owners_changed(),
  everstep.grants_changed(), everstep.nothing_is_startable() FROM PUBLIC;

-- What there is. Creating the triggers has locked both tables against writers.
SELECT everstep.list_startable(ARRAY (SELECT o.namespace || '/' || o.name FROM everstep.owners AS o WHERE o.kind = 'Workflow'));

-- As before, but for the table that it asks, and all that is seldom needed comes after the return.
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
  SELECT everstep.uuidv7(), s.namespace, s.name, s.uid, s.definition_id, start.input::json, s.role, everstep.now()
  FROM everstep.startable AS s
  WHERE s.workflow = CASE WHEN start.key IS NULL THEN start.workflow END AND s.role = everstep.caller()
  RETURNING a.run_id, coalesce(octet_length(a.input::text), 0)
  INTO run, size;
  -- What is short is fit: not worth a call. And another transaction rings.
  IF size < 200 AND NOT pg_try_advisory_xact_lock(1702258034, 1) THEN
    RETURN run;
  END IF;
  IF run IS NULL AND start.key IS NOT NULL THEN
    run := everstep.start_once(start.workflow, start.input, start.key);
  END IF;
  -- An exception takes the row away again.
  IF run IS NULL OR size >= 200 AND everstep.unfit(start.input, 262144, 100) IS NOT NULL THEN
    PERFORM everstep.refuse_start(start.workflow, start.input, start.key);
  END IF;
  -- A lock of its own is had again.
  IF pg_try_advisory_xact_lock(1702258034, 1) THEN
    PERFORM pg_notify('everstep_work', '');
  END IF;
  RETURN run;
END
$$;
