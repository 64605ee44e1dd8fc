-- The journal's statements, one under each `-- name --` heading. Parameters are in the order of the row builders
-- in facts.py; what readers ask is beside the code that asks it.

-- next_tick --
UPDATE run SET tick = tick + 1 RETURNING tick

-- claim --
-- the fence: a driver that lost its lease, or a transaction that is written already, changes no row
UPDATE run SET tick = ?, active_s = ?, spent = spent + ? WHERE epoch = ? AND tick = ?

-- run_set --
UPDATE run SET state = ?, reason = ?, started = coalesce(started, ?), finished = ?

-- attempt --
INSERT OR REPLACE INTO attempts (job, number, slot, state, kind, message, exceptions, traceback, charged, started,
  wall_s, cpu_s, peak_rss, signal, exit_code, log_file, log_start, log_end)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- attempt_succeeded --
INSERT OR REPLACE INTO attempts (job, number, slot, state, charged, started, wall_s, cpu_s, peak_rss, log_file,
  log_start, log_end)
VALUES (?, ?, ?, 'succeeded', ?, ?, ?, ?, ?, ?, ?, ?)

-- job_succeeded --
WITH new (charged, last, result, object, metrics, started, wall_s, cpu_s, peak_rss, finished, tick, job) AS (
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
)
UPDATE jobs SET state = 'succeeded', due = NULL, kind = NULL, message = NULL, attempts = attempts + new.charged,
  total_attempts = max(total_attempts, new.last), result = new.result, result_object = new.object,
  metrics = new.metrics, started = new.started, wall_s = new.wall_s, cpu_s = new.cpu_s, peak_rss = new.peak_rss,
  finished = new.finished, tick = new.tick
FROM new WHERE number = new.job AND state = 'pending'

-- job_ended --
UPDATE jobs SET state = ?, due = NULL, kind = ?, message = ?, quarantined = ?, attempts = attempts + ?,
  total_attempts = max(total_attempts, ?), result = ?, result_object = ?, metrics = ?,
  started = coalesce(?, started), wall_s = coalesce(?, wall_s), cpu_s = coalesce(?, cpu_s),
  peak_rss = coalesce(?, peak_rss), finished = ?, tick = ?
WHERE number = ? AND state = 'pending'

-- job_cached --
WITH new (run, source, result, object, metrics, finished, tick, job) AS (VALUES (?, ?, ?, ?, ?, ?, ?, ?))
UPDATE jobs SET state = 'succeeded', due = NULL, kind = NULL, message = NULL, cached = 1, source_run = new.run,
  source_job = new.source, result = new.result, result_object = new.object, metrics = new.metrics,
  finished = new.finished, tick = new.tick
FROM new WHERE number = new.job AND state = 'pending'

-- job_lost --
UPDATE jobs SET state = 'failed', kind = 'invalid', message = ?, result = NULL, result_object = NULL, metrics = NULL,
  tick = ?
WHERE number = ?

-- job_attempted --
UPDATE jobs SET attempts = attempts + ?, total_attempts = max(total_attempts, ?), tick = ? WHERE number = ?

-- job_due --
UPDATE jobs SET state = 'pending', kind = NULL, message = NULL, finished = NULL, due = ?, attempts = ?,
  total_attempts = ?, deaths = ?, first_started = ?, tick = ?
WHERE number = ? AND state IN ('pending', 'failed', 'cancelled')

-- job_reset --
UPDATE jobs SET state = 'pending', kind = NULL, message = NULL, finished = NULL, quarantined = 0, due = ?,
  attempts = 0, deaths = 0, first_started = NULL, result = NULL, result_object = NULL, metrics = NULL, tick = ?
WHERE number = ? AND state IN ('failed', 'cancelled', 'skipped') AND NOT unfit

-- job_cancelled --
UPDATE jobs SET state = 'cancelled', due = NULL, finished = ?, tick = ? WHERE number = ? AND state = 'pending'

-- job_keyed --
UPDATE jobs SET key = ?, tick = ? WHERE number = ?

-- slot --
INSERT OR REPLACE INTO slots (slot, job, attempt, pid, since) VALUES (?, ?, ?, ?, ?)

-- step --
INSERT OR REPLACE INTO steps (key, name, arguments, value, job, attempt, finished, seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- call_reserved --
INSERT OR REPLACE INTO calls (id, job, quota, key, state, tokens, cost, reserved)
VALUES (?, ?, ?, ?, 'reserved', ?, ?, ?)

-- call_closed --
UPDATE calls SET state = ?, tokens = ?, cost = ?, usage = ?, closed = ? WHERE id = ?

-- call_cached --
INSERT OR REPLACE INTO calls (id, job, quota, key, state, tokens, cost, reserved, closed, usage)
VALUES (?, ?, ?, ?, 'cached', 0, 0, ?, ?, ?)

-- artifact --
INSERT OR REPLACE INTO artifacts (job, hook, name, digest, size) VALUES (?, ?, ?, ?, ?)

-- hook --
INSERT OR REPLACE INTO hooks (hook, task, state, kind, message, result, finished) VALUES (?, ?, ?, ?, ?, ?, ?)

-- plan_job --
INSERT INTO jobs (number, name, binding, params, key, inputs, grp, lane, priority, timeout, memory, retry, state,
  kind, message, unfit, finished, tick)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- plan_moved --
UPDATE run SET planned = planned + ?, plan_position = ?, plan_done = ?

-- binding --
INSERT INTO bindings (task, mode, version) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET task = task RETURNING id

-- count_group --
INSERT OR IGNORE INTO counts (grp, state, n) SELECT ?, value, 0
FROM json_each('["pending", "succeeded", "failed", "skipped", "cancelled", "cached", "retried"]')

-- count --
UPDATE counts SET n = n + ? WHERE grp = ? AND state = ?

-- tally --
SELECT coalesce(grp, ''), state, count(*), sum(cached), sum(total_attempts > 1)
FROM json_each(?) CROSS JOIN jobs ON number = value GROUP BY 1, 2
