-- The ledger of one run: one SQLite file, written by one connection, read by anyone. `PRAGMA user_version` is
-- the schema version. Times are wall seconds since 1970; durations are seconds; money is integer micro-cents.
-- `tick` is the number of the transaction that last changed a row: readers that page keep rows with tick <= T.

CREATE TABLE run (                     -- exactly one row
  id TEXT NOT NULL,                    -- name-3
  name TEXT NOT NULL,
  ordinal INTEGER NOT NULL,            -- the 3
  task TEXT NOT NULL,                  -- of the manifest; a job may have another
  plan_digest TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  created REAL NOT NULL,
  started REAL,                        -- first start
  finished REAL,                       -- last end of an invocation
  active_s REAL NOT NULL DEFAULT 0,    -- wall seconds in which a driver was alive, all invocations
  folder TEXT NOT NULL,                -- what relative paths of the manifest mean
  seed INTEGER NOT NULL DEFAULT 0,
  planned INTEGER NOT NULL DEFAULT 0,  -- jobs planned so far
  plan_position INTEGER NOT NULL DEFAULT 0,
  plan_done INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,    -- the lease's fence: grows with every driver
  tick INTEGER NOT NULL DEFAULT 0,
  spent INTEGER NOT NULL DEFAULT 0,    -- settled micro-cents
  provenance TEXT NOT NULL DEFAULT '{}'  -- versions, command, host: JSON
);

CREATE TABLE bindings (                -- task, mode and code version: few rows, shared by all jobs
  id INTEGER PRIMARY KEY,
  task TEXT NOT NULL,
  mode TEXT NOT NULL,
  version TEXT NOT NULL,
  UNIQUE (task, mode, version)
);

CREATE TABLE jobs (
  number INTEGER PRIMARY KEY,          -- the plan number, from 1
  name TEXT NOT NULL UNIQUE,
  binding INTEGER NOT NULL REFERENCES bindings (id),
  params TEXT NOT NULL,                -- canonical JSON; `object:DIGEST` when over 64 KB
  key TEXT,                            -- NULL until its input files are digested
  key_start TEXT GENERATED ALWAYS AS (substr(key, 1, 8)) VIRTUAL,  -- what is indexed: ask for it and for the key
  inputs TEXT,                         -- JSON list of [path, size, mtime_ns, inode]
  grp TEXT,
  lane INTEGER NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL DEFAULT 0,
  timeout REAL,
  memory INTEGER,
  retry TEXT,                          -- JSON
  state TEXT NOT NULL DEFAULT 'pending',
  cached INTEGER NOT NULL DEFAULT 0,
  quarantined INTEGER NOT NULL DEFAULT 0,
  unfit INTEGER NOT NULL DEFAULT 0,    -- 1: planned as failed, since it cannot run at all; nothing tries it again
  source_run TEXT,                     -- of a cached job
  source_job INTEGER,
  due REAL,                            -- not before (a retry)
  attempts INTEGER NOT NULL DEFAULT 0,       -- charged, in this retry round
  total_attempts INTEGER NOT NULL DEFAULT 0, -- ever
  deaths INTEGER NOT NULL DEFAULT 0,
  first_started REAL,
  kind TEXT,                           -- of the failure, or of the skip
  message TEXT,
  result TEXT,                         -- JSON
  result_object TEXT,                  -- digest, when the result is over 64 KB
  metrics TEXT,                        -- JSON object
  started REAL,                        -- of the last attempt, and what it took:
  wall_s REAL,
  cpu_s REAL,
  peak_rss INTEGER,
  finished REAL,
  tick INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_ready ON jobs (lane, priority DESC, number) WHERE state = 'pending' AND due IS NULL;
CREATE INDEX jobs_due ON jobs (due) WHERE state = 'pending' AND due IS NOT NULL;
-- the beginning of a key is enough to find it, and keeps a tree of random texts small while a long plan is written
CREATE INDEX jobs_key ON jobs (key_start) WHERE key_start IS NOT NULL;
CREATE INDEX jobs_group ON jobs (grp, lane, priority DESC, number)
  WHERE state = 'pending' AND due IS NULL AND grp IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (state, kind) WHERE state NOT IN ('pending', 'succeeded');

CREATE TABLE attempts (                -- one row an attempt, written when it ends
  job INTEGER NOT NULL,
  number INTEGER NOT NULL,             -- from 1, over all invocations
  slot INTEGER NOT NULL,
  state TEXT NOT NULL,
  kind TEXT,
  message TEXT,
  exceptions TEXT,                     -- JSON list of class names
  traceback TEXT,
  charged INTEGER NOT NULL DEFAULT 1,
  started REAL NOT NULL,
  wall_s REAL NOT NULL,
  cpu_s REAL NOT NULL,
  peak_rss INTEGER NOT NULL,
  signal INTEGER,
  exit_code INTEGER,
  log_file TEXT,
  log_start INTEGER,
  log_end INTEGER,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;

CREATE TABLE steps (                   -- finished steps, under the key of their job
  key TEXT NOT NULL,
  name TEXT NOT NULL,
  arguments TEXT NOT NULL,             -- digest
  value TEXT NOT NULL,                 -- JSON; `object:DIGEST` when over 64 KB
  job INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  finished REAL NOT NULL,
  seconds REAL NOT NULL,
  PRIMARY KEY (key, name)
) WITHOUT ROWID;

CREATE TABLE calls (                   -- metered requests
  id INTEGER PRIMARY KEY,
  job INTEGER NOT NULL,
  quota TEXT NOT NULL,
  key TEXT NOT NULL,
  state TEXT NOT NULL,                 -- reserved; settled, released (never sent), unknown (possibly billed); cached
  tokens INTEGER NOT NULL,
  cost INTEGER NOT NULL,               -- reserved at most, then true
  reserved REAL NOT NULL,
  closed REAL,
  usage TEXT,                          -- JSON: what the caller told of the reply, from which the next columns are
  model TEXT GENERATED ALWAYS AS (coalesce(json_extract(usage, '$.model'), quota)) VIRTUAL,
  stage TEXT GENERATED ALWAYS AS (coalesce(json_extract(usage, '$.stage'), '')) VIRTUAL,
  tokens_in INTEGER GENERATED ALWAYS AS (coalesce(json_extract(usage, '$.input'), 0)) VIRTUAL,
  tokens_out INTEGER GENERATED ALWAYS AS (coalesce(json_extract(usage, '$.output'), 0)) VIRTUAL,
  failure TEXT GENERATED ALWAYS AS (json_extract(usage, '$.failure')) VIRTUAL
);
CREATE INDEX calls_job ON calls (job);
CREATE INDEX calls_open ON calls (id) WHERE state IN ('reserved', 'unknown');

CREATE TABLE artifacts (
  job INTEGER NOT NULL,                -- 0 for a hook's
  hook TEXT NOT NULL DEFAULT '',       -- `prepare:TASK`, ...
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (job, hook, name)
) WITHOUT ROWID;

CREATE TABLE hooks (
  hook TEXT NOT NULL,                  -- prepare, summarise, report
  task TEXT NOT NULL,
  state TEXT NOT NULL,
  kind TEXT,
  message TEXT,
  result TEXT,                         -- JSON
  finished REAL,
  PRIMARY KEY (hook, task)
) WITHOUT ROWID;

CREATE TABLE slots (                   -- what each worker slot holds now
  slot INTEGER PRIMARY KEY,
  job INTEGER NOT NULL,                -- 0: idle
  attempt INTEGER NOT NULL,
  pid INTEGER NOT NULL,
  since REAL NOT NULL
);

CREATE TABLE counts (                  -- kept in the same transaction: reports need no scan
  grp TEXT NOT NULL,                   -- '' for jobs without a group
  state TEXT NOT NULL,                 -- a job state, `cached`, or `retried`: jobs that were tried more than once
  n INTEGER NOT NULL,
  PRIMARY KEY (grp, state)
) WITHOUT ROWID;
