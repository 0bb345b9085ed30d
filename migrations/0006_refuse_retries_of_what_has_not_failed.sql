-- A retry that names a step which has not failed is refused to whoever asks, not only in the run's history afterwards.

-- As before but for that. What has failed is what step_list says; the run judges again when it reads the command.
CREATE OR REPLACE FUNCTION everstep.retry(run uuid, from_step text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  phase text;
  stalled text;
  still_since integer;
  failed text[];
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
  IF retry.from_step IS NOT NULL THEN
    SELECT array_agg(s.step ORDER BY s.begun_seq, s.step) INTO failed
    FROM everstep.step_list AS s
    WHERE s.run_id = retry.run AND s.status = 'Failed'
      AND s.deed = CASE stalled WHEN 'CompensationFailed' THEN 'Undo' ELSE 'Do' END;
    IF (retry.from_step = ANY (failed)) IS NOT TRUE THEN
      RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
        MESSAGE = format('everstep.retry: %L is not what failed in run %s; that is %s', left(retry.from_step, 64), retry.run,
          coalesce(array_to_string(failed, ', '), 'its output')),
        HINT = 'Leave from_step out for all that failed.';
    END IF;
  END IF;
  -- One key for each time that it stands still.
  PERFORM everstep.send_command('Retry', retry.run, 'sql/' || still_since || '/' || coalesce(retry.from_step, ''),
    json_build_object('from', retry.from_step));
END
$$;
