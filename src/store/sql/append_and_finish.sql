-- Decisions of many runs, some of which end by them, where every place in the journal is expected to be free: a place that
-- is taken fails the statement, so what follows needs no look at what was really appended (P10).
--
-- $1-$5 rows of the journal, sorted by run; $6-$14 the ends of runs.
WITH appended AS (
  INSERT INTO everstep.journal (run_id, seq, at, nonce, events)
  SELECT run_id, seq, at, nonce, events::json
  FROM UNNEST($1::uuid[], $2::int[], $3::timestamptz[], $4::bigint[], $5::text[])
    AS new (run_id, seq, at, nonce, events)
), ended AS (
  SELECT *
  FROM UNNEST($6::uuid[], $7::int[], $8::timestamptz[], $9::text[], $10::text[], $11::text[], $12::timestamptz[],
    $13::timestamptz[], $14::timestamptz[])
    AS ended (run_id, seq, at, phase, reason, summary, deadline, started_at, finished_at)
), told AS (
  UPDATE everstep.runs AS r
  SET phase = e.phase, reason = e.reason, summary = e.summary::json, summary_seq = e.seq, deadline = e.deadline,
    started_at = coalesce(r.started_at, e.started_at), finished_at = e.finished_at, snapshot = NULL, snapshot_seq = NULL,
    expires_at = e.finished_at + coalesce(
      (SELECT CASE e.phase WHEN 'Succeeded' THEN o.keep_succeeded ELSE o.keep_failed END
       FROM everstep.owners AS o WHERE o.uid = coalesce(r.owner_uid, r.workflow_uid)),
      CASE e.phase WHEN 'Succeeded' THEN interval '30 days' ELSE interval '180 days' END)
  FROM ended AS e
  WHERE r.id = e.run_id
), unarmed AS (
  DELETE FROM everstep.timers AS t
  USING ended AS e
  WHERE t.run_id = e.run_id
  RETURNING t.run_id
), released AS (
  -- After the timers, hence the count, which is always true: see append.sql.
  DELETE FROM everstep.active AS a
  USING ended AS e
  WHERE a.run_id = e.run_id AND (SELECT count(*) FROM unarmed) >= 0
)
INSERT INTO everstep.audit (at, actor, operation, object_uid, run_id, epoch, detail)
SELECT e.at, 'worker', 'finished', NULL, e.run_id, (SELECT epoch FROM everstep.cluster),
  ('{"phase":"' || e.phase || '"}')::json
FROM ended AS e
