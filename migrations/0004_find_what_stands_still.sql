-- What stands still until a person acts is few rows of many, and the detector asks for it every few seconds.
CREATE INDEX runs_standing ON everstep.runs (phase, id) WHERE phase IN ('Paused', 'Blocked');
