// One job as the page knows it, and what each event does to it. Pure: no DOM, no clock.

export const TERMINAL = new Set(['completed', 'failed', 'cancelled']);
export const RUNNING = new Set(['active', 'stalled', 'cancelling']);

const LONGEST_LINE = 4000;

export function blank(jobId) {
  return {
    jobId, queue: null, name: null, state: 'unknown', running: false,
    attempt: 1, maxAttempts: 1, worker: null, parentId: null, children: null,
    ...untried(),
    queuedAt: null, queueToStartTime: null, totalTime: null, previousError: null,
    epoch: null, seq: 0,
    log: { lines: [], dropped: 0, version: 0, complete: false, loading: false, problem: null },
    note: null, busy: null,
    kept: { at: null, loading: false, found: null, problem: null },
  };
}

/** For what of a job the server’s own record was fetched; another one is wanted once it differs. */
export function markOf({ state, attempt, epoch }) {
  return `${epoch} ${attempt} ${state}`;
}

/** What belongs to one attempt and is forgotten when the next begins. */
function untried() {
  return {
    progress: null, percent: null, details: null, stage: null, eta: null,
    result: undefined, error: null, reason: null, retryAt: null, lastSeen: null,
    startedAt: null, finishedAt: null, processingTime: null,
  };
}

/** A snapshot, or the HTTP view of a job, in one form. Times come as Unix ms on one door and as ISO 8601 on the other. */
export function fromServer(given) {
  const state = given.state ?? given.status ?? 'unknown';
  const job = { ...blank(given.jobId ?? given.id) };
  for (const key of ['queue', 'name', 'worker', 'parentId', 'children', 'details', 'stage', 'eta', 'error', 'reason',
    'epoch', 'queueToStartTime', 'processingTime', 'totalTime']) job[key] = given[key] ?? null;
  job.attempt = Math.max(1, given.attempt ?? given.attempts ?? 1);
  job.maxAttempts = Math.max(1, given.maxAttempts ?? 1);
  job.seq = given.seq ?? 0;
  job.queuedAt = milliseconds(given.queuedAt ?? given.createdAt);
  job.startedAt = milliseconds(given.startedAt ?? given.processedAt);
  job.finishedAt = TERMINAL.has(state) ? milliseconds(given.finishedAt) : null;
  job.retryAt = milliseconds(given.retryAt);
  job.lastSeen = milliseconds(given.heartbeatAt);
  job.result = given.result ?? undefined;
  takeProgress(job, given);
  enter(job, state);
  return job;
}

function milliseconds(time) {
  if (time === null || time === undefined || time === '') return null;
  const value = typeof time === 'number' ? time : Date.parse(time);
  return Number.isFinite(value) ? value : null;
}

function enter(job, state) {
  job.state = state;
  job.running = RUNNING.has(state);
  if (state === 'completed') job.percent = 100;
}

function takeProgress(job, given) {
  job.progress = given.progress ?? null;
  job.percent = given.percent ?? (typeof given.progress === 'number' ? given.progress : null);
  job.details = given.details ?? null;
  job.stage = given.stage ?? null;
  job.eta = given.eta ?? null;
}

const changes = {
  __proto__: null, // an event called "constructor" is an unknown one
  'job-queued': (job, event) => {
    job.name = event.name ?? job.name;
    job.maxAttempts = event.maxAttempts ?? job.maxAttempts;
    job.parentId = event.parentId ?? job.parentId;
    job.queuedAt = event.timestamp;
    job.retryAt = event.delay > 0 ? event.timestamp + event.delay : null;
    const waits = event.delay > 0 ? 'delayed' : 'waiting';
    enter(job, event.children ? 'waiting-children' : waits);
  },
  'job-queue-to-start': (job, event) => {
    job.startedAt = event.timestamp;
    job.queueToStartTime = event.queueToStartTime ?? null;
    job.worker = event.worker ?? null;
    job.retryAt = null;
    enter(job, 'active');
  },
  'job-progress': (job, event) => {
    takeProgress(job, event);
    // Rolled up from its children: it waits for them still.
    if (event.children) {
      job.children = event.children;
      if (!job.running) enter(job, 'waiting-children');
      return;
    }
    job.startedAt ??= event.timestamp;
    // A job asked to stop may still report on its way out; that does not take the request back.
    if (job.state !== 'cancelling') enter(job, 'active');
  },
  'job-log': (job, event, most) => addLine(job, event, most),
  'job-stalled': (job, event) => {
    job.lastSeen = event.lastSeen ?? null;
    job.reason = event.reason ?? null;
    enter(job, 'stalled');
  },
  'job-completed': (job, event) => {
    job.result = event.result ?? null;
    finish(job, event, 'completed');
  },
  'job-failed': (job, event) => {
    job.error = event.error ?? '';
    job.maxAttempts = event.maxAttempts ?? job.maxAttempts;
    if (event.final) return finish(job, event, 'failed');
    job.retryAt = event.retryAt ?? null;
    enter(job, job.retryAt === null ? 'waiting' : 'delayed');
  },
  'job-cancelled': (job, event) => {
    job.reason = event.reason ?? null;
    finish(job, event, 'cancelled');
  },
};

function finish(job, event, state) {
  job.finishedAt = event.timestamp;
  job.processingTime = event.processingTime ?? null;
  job.totalTime = event.totalTime ?? null;
  job.retryAt = null;
  job.busy = null;
  job.note = null;
  enter(job, state);
}

/** Apply the event that is next in line. An event kind this page does not know still moves the position. */
export function advance(job, kind, event, mostLines) {
  job.queue ??= event.queue ?? null;
  job.epoch = event.epoch;
  job.seq = event.seq;
  const attempt = event.attempt ?? job.attempt;
  if (attempt > job.attempt) nextAttempt(job, attempt);
  if (TERMINAL.has(job.state) && kind !== 'job-log') return;
  changes[kind]?.(job, event, mostLines);
}

function nextAttempt(job, attempt) {
  const previousError = job.error ?? job.previousError;
  Object.assign(job, untried(), { attempt, previousError, busy: null, note: null });
  if (TERMINAL.has(job.state)) enter(job, 'waiting');
}

function addLine(job, event, most) {
  const { log } = job;
  log.lines.push(line(event));
  if (log.lines.length > most) log.dropped += log.lines.splice(0, log.lines.length - most).length;
}

function line(event) {
  const text = String(event.line ?? '');
  return { seq: event.seq, attempt: event.attempt ?? 1, at: event.timestamp, level: event.level ?? null,
    text: text.length > LONGEST_LINE ? `${text.slice(0, LONGEST_LINE)}…` : text };
}

/** Lines from the history, put among those that came live: one line for one seq, in order, the newest kept. */
export function mergeLines(job, events, most) {
  const bySeq = new Map(job.log.lines.map((known) => [known.seq, known]));
  for (const [kind, event] of events) {
    if (kind === 'job-log' && event.epoch === job.epoch && event.seq <= job.seq) bySeq.set(event.seq, line(event));
  }
  const lines = [...bySeq.values()].sort((a, b) => a.seq - b.seq);
  const dropped = Math.max(job.log.dropped, lines.length - most);
  job.log = { ...job.log, lines: lines.slice(-most), dropped, version: job.log.version + 1,
    complete: true, loading: false, problem: null };
}
