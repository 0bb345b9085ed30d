-- What a Workflow's status says of runs that its object does not own: those that SQL started, and those of WorkflowRuns.
--
-- A release that knows only the earlier ones goes on beside this: none of its statements names the new column, and those that
-- look for live runs by `workflow_uid` find the new index.

-- The Workflow object that a WorkflowRun referred to when it started the run. It counts the run, and nothing else: unlike
-- `workflow_uid`, its suspension and its deletion do not reach the run.
ALTER TABLE everstep.runs ADD COLUMN counted_by text COLLATE "C";

-- A run is in one of the four, or in none. The newest first, without a look at the rows.
CREATE INDEX runs_of_workflow_live ON everstep.runs (workflow_uid, id)
  WHERE workflow_uid IS NOT NULL AND finished_at IS NULL;
CREATE INDEX runs_of_workflow_ended ON everstep.runs (workflow_uid, finished_at) INCLUDE (phase)
  WHERE workflow_uid IS NOT NULL AND finished_at IS NOT NULL;
CREATE INDEX runs_counted_live ON everstep.runs (counted_by, id)
  WHERE counted_by IS NOT NULL AND finished_at IS NULL;
CREATE INDEX runs_counted_ended ON everstep.runs (counted_by, finished_at) INCLUDE (phase)
  WHERE counted_by IS NOT NULL AND finished_at IS NOT NULL;
-- The first of them does what it did.
DROP INDEX everstep.runs_of_workflow;
