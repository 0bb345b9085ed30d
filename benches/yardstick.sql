-- The rows of one batch, in one statement: :batch rows of the journal, and what belongs to the runs that end in it.
-- Rows are numbered through; every :decisions of them are one run.
WITH batch AS (
  SELECT nextval('yardstick.batches') AS number
), row AS (
  SELECT lpad(to_hex(n / :decisions), 32, '0')::uuid AS run_id, (n % :decisions + 1)::integer AS seq
  FROM batch, generate_series(number * :batch, number * :batch + :batch - 1) AS n
), ended AS (
  SELECT run_id FROM row WHERE seq = :decisions
), journal AS (
  INSERT INTO yardstick.journal (run_id, seq, at, nonce, events)
  SELECT row.run_id, row.seq, clock.now, sample.nonce, sample.events::json
  FROM (SELECT clock_timestamp() AS now) AS clock, row JOIN yardstick.decision AS sample USING (seq)
), audit AS (
  INSERT INTO yardstick.audit (at, actor, operation, object_uid, run_id, epoch, detail)
  SELECT clock_timestamp(), sample.actor, sample.operation, sample.object_uid, ended.run_id, sample.epoch,
    sample.detail::json
  FROM ended, yardstick.note AS sample
), runs AS (
  INSERT INTO yardstick.runs (id, :columns)
  SELECT ended.run_id, :columns FROM ended, yardstick.run AS sample
)
INSERT INTO yardstick.active (run_id, namespace, ready_at, worker_id)
SELECT ended.run_id, sample.namespace, sample.ready_at, sample.worker_id FROM ended, yardstick.claim AS sample;
