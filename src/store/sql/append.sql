-- Decisions of many runs, with all that follows from them, keyed by what was really appended (P10).
--
-- $1-$5 rows of the journal, sorted by run; $6-$9 mail that they take, consume or give up, each row once;
-- $10-$19 what becomes of the runs.
-- Parts of one statement share one snapshot and do not see each other's writes: no two of them touch one row.
WITH letter AS (
  SELECT * FROM UNNEST($6::uuid[], $7::bigint[], $8::bool[], $9::text[]) AS letter (run_id, id, takes, fate)
), verdict AS (
  SELECT *
  FROM UNNEST($10::uuid[], $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[],
    $17::timestamptz[], $18::text[], $19::timestamptz[])
    AS told (run_id, becomes, phase, reason, summary, deadline, started_at, finished_at, snapshot, wake_at)
), appended AS (
  INSERT INTO everstep.journal AS j (run_id, seq, at, nonce, events)
  SELECT run_id, seq, at, nonce, events::json
  FROM UNNEST($1::uuid[], $2::int[], $3::timestamptz[], $4::bigint[], $5::text[])
    AS new (run_id, seq, at, nonce, events)
  -- P6, the backstop: mail is taken once.
  WHERE NOT EXISTS (
    SELECT 1
    FROM letter
    LEFT JOIN everstep.inbox AS i ON i.id = letter.id AND i.taken_seq IS NULL AND i.outcome IS NULL
    WHERE letter.run_id = new.run_id AND letter.takes AND i.id IS NULL)
  ON CONFLICT DO NOTHING
  RETURNING j.run_id, j.seq, j.at
), follows AS (
  SELECT appended.seq, appended.at, verdict.* FROM appended JOIN verdict USING (run_id)
), taken AS (
  -- A command is consumed by being taken, a signal by the wait that it matches, now or later.
  UPDATE everstep.inbox AS i
  SET taken_seq = coalesce(i.taken_seq, appended.seq),
    consumed_seq = CASE WHEN i.kind <> 'Signal' OR letter.fate = 'Consumed' THEN appended.seq END,
    outcome = CASE WHEN i.kind <> 'Signal' THEN 'Consumed' ELSE letter.fate END
  FROM letter JOIN appended USING (run_id)
  WHERE i.id = letter.id AND i.run_id = letter.run_id AND i.outcome IS NULL
), told AS (
  UPDATE everstep.runs AS r
  SET phase = f.phase, reason = f.reason, summary = f.summary::json, summary_seq = f.seq, deadline = f.deadline,
    started_at = coalesce(r.started_at, f.started_at), finished_at = f.finished_at,
    snapshot = CASE f.becomes WHEN 'keep' THEN r.snapshot WHEN 'park' THEN f.snapshot::json END,
    snapshot_seq = CASE f.becomes WHEN 'keep' THEN r.snapshot_seq WHEN 'park' THEN f.seq END,
    expires_at = f.finished_at + CASE f.becomes WHEN 'finish' THEN coalesce(
      (SELECT CASE f.phase WHEN 'Succeeded' THEN o.keep_succeeded ELSE o.keep_failed END
       FROM everstep.owners AS o WHERE o.uid = coalesce(r.owner_uid, r.workflow_uid)),
      CASE f.phase WHEN 'Succeeded' THEN interval '30 days' ELSE interval '180 days' END) END
  FROM follows AS f
  WHERE r.id = f.run_id
), unarmed AS (
  DELETE FROM everstep.timers AS t
  USING follows AS f
  WHERE t.run_id = f.run_id AND (f.becomes = 'finish' OR f.becomes = 'park' AND f.wake_at IS NULL)
  RETURNING t.run_id
), armed AS (
  INSERT INTO everstep.timers AS t (run_id, fire_at)
  SELECT run_id, wake_at FROM follows WHERE becomes = 'park' AND wake_at IS NOT NULL ORDER BY run_id
  ON CONFLICT (run_id) DO UPDATE SET fire_at = excluded.fire_at
  RETURNING t.run_id
), released AS (
  -- After the timers, hence the counts, which are always true: the timer sweep locks in that order too, and the other
  -- way round the two would deadlock.
  DELETE FROM everstep.active AS a
  USING follows AS f
  WHERE a.run_id = f.run_id AND f.becomes <> 'keep'
    AND (SELECT count(*) FROM unarmed) + (SELECT count(*) FROM armed) >= 0
), noted AS (
  INSERT INTO everstep.audit (at, actor, operation, object_uid, run_id, epoch, detail)
  SELECT f.at, 'worker', 'finished', NULL, f.run_id, (SELECT epoch FROM everstep.cluster),
    ('{"phase":"' || f.phase || '"}')::json
  FROM follows AS f
  WHERE f.becomes = 'finish'
)
SELECT run_id FROM appended
