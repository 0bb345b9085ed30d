-- Runs that another one takes up again: the work of a run is taken over once.

-- The start that has this run's work, if one has.
ALTER TABLE everstep.runs ADD COLUMN retried_workflow text COLLATE "C";
ALTER TABLE everstep.runs ADD COLUMN retried_key text COLLATE "C";
ALTER TABLE everstep.runs
  ADD CONSTRAINT runs_retried_once CHECK ((retried_workflow IS NULL) = (retried_key IS NULL)) NOT VALID;

-- As before, with the steps that a run took over from an earlier one.
CREATE OR REPLACE VIEW everstep.step_list WITH (security_barrier) AS
SELECT r.id AS run_id, r.namespace, r.workflow, s.step, s.deed, s.begun_seq,
  CASE s.latest
    WHEN 'StepSucceeded' THEN 'Succeeded' WHEN 'StepFailed' THEN 'Failed' WHEN 'StepSkipped' THEN 'Skipped'
    WHEN 'StepCancelled' THEN 'Cancelled' WHEN 'StepTimedOut' THEN 'TimedOut' WHEN 'StepReused' THEN s.reused ->> 'status'
    ELSE 'Open' END AS status,
  s.attempts, s.begun_at, CASE WHEN s.is_over THEN s.latest_at END AS ended_at, s.error,
  -- Name of the WorkflowRun whose run did it; then there are no attempts, for none were made here.
  s.reused ->> 'name' AS reused_from
FROM everstep.runs AS r
CROSS JOIN LATERAL (
  SELECT e.step, e.deed, min(e.seq) AS begun_seq, min(e.at) AS begun_at,
    (max((e.detail ->> 'attempt')::bigint) FILTER (WHERE e.event = 'StepStarted'))::integer AS attempts,
    -- What failed and is retried by hand is open again.
    (array_agg(e.event ORDER BY e.seq DESC, e.place DESC))[1] AS latest,
    (array_agg(e.ends ORDER BY e.seq DESC, e.place DESC))[1] AS is_over,
    max(e.at) AS latest_at,
    (array_agg(e.detail -> 'error' ORDER BY e.seq DESC, e.place DESC) FILTER (WHERE e.detail -> 'error' IS NOT NULL))[1]
      AS error,
    (array_agg(e.detail) FILTER (WHERE e.event = 'StepReused'))[1] AS reused
  FROM (
    SELECT j.seq, j.at, list.place, one.event, one.detail, one.detail ->> 'step' AS step,
      coalesce(one.detail ->> 'deed', 'Do') AS deed,
      one.event IN ('StepSucceeded', 'StepFailed', 'StepSkipped', 'StepCancelled', 'StepTimedOut', 'StepReused') AS ends
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
