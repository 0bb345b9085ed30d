-- The tables of the engine. Their names, and those of their columns, are read by tests and operators.
--
-- Text that serves as a key compares by bytes (COLLATE "C"): no locale, no surprise after an upgrade of libc.
-- JSON is json and never jsonb, which refuses \u0000 and rewrites numbers.
-- There are no foreign keys: on the hot tables they cost most of the throughput, and on the others a lock on a
-- definition's row that every start of it would share. Rows are tied by the statements of src/store.

-- The database's clock. Tests replace it in their own database.
CREATE FUNCTION everstep.now() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN pg_catalog.clock_timestamp();

-- Time-ordered ids: 48 bits of milliseconds, 12 bits of the fraction, 62 random bits.
-- Neighbours in time are neighbours in the index: random ids would touch another page with each row.
CREATE FUNCTION everstep.uuidv7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (
  SELECT (lpad(to_hex(micros / 1000), 12, '0')
      || '7' || lpad(to_hex(micros % 1000 * 4096 / 1000), 3, '0')
      || substr(gen_random_uuid()::text, 20))::uuid        -- variant and randomness of a version 4 id
  FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS clock
);

-- One row: whose database this is.
CREATE TABLE everstep.cluster (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id text COLLATE "C" NOT NULL CHECK (id <> ''),
  install text COLLATE "C" NOT NULL CHECK (install <> ''),
  epoch integer NOT NULL DEFAULT 1,
  adopted_at timestamptz NOT NULL DEFAULT everstep.now()
);

CREATE TABLE everstep.definitions (
  id uuid PRIMARY KEY DEFAULT everstep.uuidv7(),
  namespace text COLLATE "C" NOT NULL,
  workflow text COLLATE "C" NOT NULL,
  revision text COLLATE "C" NOT NULL,
  body json NOT NULL,
  -- Read with every run that was started without an input: not worth parsing the body again.
  default_input json GENERATED ALWAYS AS (body -> 'input') STORED,
  created_at timestamptz NOT NULL DEFAULT everstep.now(),
  UNIQUE (namespace, workflow, revision)
);

-- What was last accepted of an object.
CREATE TABLE everstep.owners (
  uid text COLLATE "C" PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  generation bigint NOT NULL,
  definition_id uuid,                         -- null only inside the transaction that first sees the object
  suspended boolean NOT NULL DEFAULT false,
  deletion_policy text COLLATE "C" NOT NULL CHECK (deletion_policy IN ('Background', 'Foreground', 'Orphan')),
  keep_succeeded interval NOT NULL,
  keep_failed interval NOT NULL,
  accepted_at timestamptz NOT NULL DEFAULT everstep.now(),
  suspected_at timestamptz,                   -- since when the orphan pass finds no such object
  confirmed_at timestamptz,                   -- when it last found none
  suspected_epoch integer,
  gone_at timestamptz,                        -- when that was acted upon
  CHECK ((suspected_at IS NULL) = (confirmed_at IS NULL))
);

CREATE TABLE everstep.runs (
  id uuid PRIMARY KEY,
  namespace text COLLATE "C" NOT NULL,
  workflow text COLLATE "C" NOT NULL,
  owner_kind text COLLATE "C",
  owner_uid text COLLATE "C",
  owner_name text COLLATE "C",
  start_key text COLLATE "C" NOT NULL,
  definition_id uuid NOT NULL,
  input json,                                 -- null: the definition's
  scheduled_at timestamptz,
  trigger text COLLATE "C" NOT NULL,
  parent_id uuid,
  parent_step text COLLATE "C",
  item_index integer,
  phase text COLLATE "C" NOT NULL DEFAULT 'Pending',
  reason text COLLATE "C",
  summary json,
  summary_seq integer NOT NULL DEFAULT 0,
  projected_seq integer NOT NULL DEFAULT -1,  -- below summary_seq: the object's status does not show it yet
  snapshot json,
  snapshot_seq integer,
  deadline timestamptz,
  created_at timestamptz NOT NULL DEFAULT everstep.now(),
  started_at timestamptz,
  finished_at timestamptz,
  expires_at timestamptz,
  CHECK (phase IN ('Pending', 'Running', 'Waiting', 'Sleeping', 'Paused', 'Blocked', 'Cancelling', 'Compensating',
    'Succeeded', 'Failed', 'Cancelled', 'TimedOut')),
  CHECK ((phase IN ('Succeeded', 'Failed', 'Cancelled', 'TimedOut')) = (finished_at IS NOT NULL)),
  CHECK (finished_at IS NOT NULL OR expires_at IS NULL),
  CHECK ((snapshot IS NULL) = (snapshot_seq IS NULL)),
  CHECK ((owner_uid IS NULL) = (owner_kind IS NULL)),
  CHECK ((owner_uid IS NULL) = (owner_name IS NULL))
) WITH (fillfactor = 85);                     -- room for the rewritten summary on the row's own page
CREATE INDEX runs_of_owner ON everstep.runs (owner_uid, id) WHERE owner_uid IS NOT NULL;
CREATE INDEX runs_live ON everstep.runs (owner_uid, phase) WHERE finished_at IS NULL;
CREATE INDEX runs_changed ON everstep.runs (id) WHERE owner_uid IS NOT NULL AND summary_seq > projected_seq;
CREATE INDEX runs_expiring ON everstep.runs (expires_at) WHERE expires_at IS NOT NULL;

-- One run for each start key, until its tombstone ends.
CREATE TABLE everstep.starts (
  namespace text COLLATE "C" NOT NULL,
  workflow text COLLATE "C" NOT NULL,
  start_key text COLLATE "C" NOT NULL,
  run_id uuid NOT NULL,
  owner_uid text COLLATE "C",                 -- while this object lives, the tombstone stays
  retired_at timestamptz,
  PRIMARY KEY (namespace, workflow, start_key)
);
CREATE INDEX starts_retired ON everstep.starts (retired_at) WHERE retired_at IS NOT NULL;

-- Append-only; one row is one decision. The primary key is the fence.
CREATE TABLE everstep.journal (
  run_id uuid NOT NULL,
  seq integer NOT NULL CHECK (seq > 0),
  at timestamptz NOT NULL,
  nonce bigint NOT NULL,
  events json NOT NULL,
  PRIMARY KEY (run_id, seq)
);

-- What may be claimed, or is claimed, now.
CREATE TABLE everstep.active (
  run_id uuid PRIMARY KEY,
  namespace text COLLATE "C" NOT NULL,
  ready_at timestamptz NOT NULL DEFAULT everstep.now(),
  worker_id uuid
) WITH (
  -- A row lives for moments: without an early vacuum, claims would walk over the dead ones.
  fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX active_ready ON everstep.active (ready_at) WHERE worker_id IS NULL;
CREATE INDEX active_owned ON everstep.active (worker_id) WHERE worker_id IS NOT NULL;

-- One row for each parked run that waits for a time: its earliest.
CREATE TABLE everstep.timers (
  run_id uuid PRIMARY KEY,
  fire_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX timers_due ON everstep.timers (fire_at);

CREATE TABLE everstep.inbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,      -- the order of arrival
  run_id uuid NOT NULL,
  kind text COLLATE "C" NOT NULL,
  signal text COLLATE "C",
  dedup_key text COLLATE "C" NOT NULL,
  source_uid text COLLATE "C",
  source_name text COLLATE "C",
  generation bigint,
  payload json NOT NULL,
  by text,
  received_at timestamptz NOT NULL DEFAULT everstep.now(),
  taken_seq integer,
  consumed_seq integer,
  outcome text COLLATE "C",
  UNIQUE (run_id, kind, dedup_key),
  CHECK (outcome IN ('Consumed', 'Undelivered')),
  CHECK (consumed_seq IS NULL OR (taken_seq IS NOT NULL AND outcome = 'Consumed')),
  -- A worker reads it as `Mail::Cancel`, and mail that cannot be read would wake its run for ever.
  CHECK (kind <> 'Cancel' OR coalesce(json_typeof(payload -> 'reason') = 'string', false))
);
CREATE INDEX inbox_untaken ON everstep.inbox (run_id, id) WHERE taken_seq IS NULL AND outcome IS NULL;

-- One heartbeat for each process; a new id at each registration.
CREATE TABLE everstep.workers (
  id uuid PRIMARY KEY DEFAULT everstep.uuidv7(),
  session text NOT NULL,
  heartbeat_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50);  -- few rows, rewritten for ever

-- What workers found when they used a Connection.
CREATE TABLE everstep.connections (
  uid text COLLATE "C" PRIMARY KEY,
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  generation bigint NOT NULL,
  ready boolean NOT NULL,
  reason text COLLATE "C" NOT NULL,
  message text NOT NULL,
  checked_at timestamptz NOT NULL
);
CREATE INDEX connections_checked ON everstep.connections (checked_at);

-- Which database roles may use the SQL functions in which namespace.
CREATE TABLE everstep.grants (
  role name NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  PRIMARY KEY (role, namespace)
);

CREATE TABLE everstep.audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT everstep.now(),
  actor text NOT NULL,
  operation text COLLATE "C" NOT NULL,
  object_uid text COLLATE "C",
  run_id uuid,
  epoch integer,
  detail json
);

-- lz4 where the server has it: pglz takes eleven times as long for a value of 8 KB.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
    ALTER TABLE everstep.definitions ALTER COLUMN body SET COMPRESSION lz4;
    ALTER TABLE everstep.runs
      ALTER COLUMN input SET COMPRESSION lz4,
      ALTER COLUMN summary SET COMPRESSION lz4,
      ALTER COLUMN snapshot SET COMPRESSION lz4;
    ALTER TABLE everstep.journal ALTER COLUMN events SET COMPRESSION lz4;
    ALTER TABLE everstep.inbox ALTER COLUMN payload SET COMPRESSION lz4;
  END IF;
END
$$;
