import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store } from '../../../gateway/dashboard/store.js';

const T = 1_700_000_000_000;

function event(seq, fields = {}) {
  return { jobId: 'j1', queue: 'demo', epoch: 'e1', attempt: 1, timestamp: T + seq * 1000, seq, ...fields };
}

/** A store in which j1 was queued, started and reported half. */
function running() {
  const store = new Store({ jobsPerQueue: 3, linesPerJob: 3 });
  store.take('job-queued', event(1, { name: 'simulate', maxAttempts: 3 }));
  store.take('job-queue-to-start', event(2, { queueToStartTime: 5, worker: 'w' }));
  store.take('job-progress', event(3, { progress: 50, percent: 50, stage: 'halfway' }));
  return store;
}

const j1 = (store) => store.jobs.get('j1');

test('a job is followed from queued to completed', () => {
  const store = running();
  assert.equal(j1(store).state, 'active');
  assert.equal(j1(store).percent, 50);
  store.take('job-completed', event(4, { result: { ok: true }, processingTime: 2000, totalTime: 2005 }));
  const { state, running: runs, result, finishedAt, percent, seq } = j1(store);
  assert.deepEqual({ state, runs, result, finishedAt, percent, seq },
    { state: 'completed', runs: false, result: { ok: true }, finishedAt: T + 4000, percent: 100, seq: 4 });
});

test('a seq that was applied is not applied again', () => {
  const store = running();
  assert.equal(store.take('job-progress', event(3, { progress: 99, percent: 99 })), 'old');
  assert.equal(store.take('job-queued', event(1, { name: 'other' })), 'old');
  assert.equal(j1(store).percent, 50);
});

test('a gap is told and not applied', () => {
  const store = running();
  assert.equal(store.take('job-completed', event(6, { result: 1 })), 'gap');
  assert.equal(j1(store).state, 'active');
  assert.deepEqual(store.position('j1'), { epoch: 'e1', seq: 3 });
});

test('a gap that is declared as skipped is none', () => {
  const store = running();
  assert.equal(store.take('job-progress', event(6, { percent: 80, skipped: 2 })), 'applied');
  assert.equal(store.take('job-progress', event(9, { percent: 90, skipped: 1 })), 'gap');
  assert.equal(j1(store).percent, 80);
});

test('a new epoch begins the job anew at its first event and is a gap at any other', () => {
  const store = running();
  assert.equal(store.take('job-progress', event(7, { epoch: 'e2', percent: 5 })), 'gap');
  assert.equal(j1(store).epoch, 'e1');
  assert.equal(store.take('job-queued', event(1, { epoch: 'e2', name: 'again' })), 'applied');
  assert.deepEqual([j1(store).state, j1(store).percent, j1(store).seq], ['waiting', null, 1]);
});

test('the first thing heard of a job may not be its middle', () => {
  const store = new Store();
  assert.equal(store.take('job-progress', event(4, { percent: 10 })), 'gap');
  assert.equal(store.jobs.size, 0);
});

test('a snapshot that is not recovered resets, even to an earlier position', () => {
  const store = running();
  store.takeSnapshot({ jobId: 'j1', queue: 'demo', name: 'simulate', state: 'active', epoch: 'e1', seq: 2, recovered: false });
  assert.deepEqual([j1(store).seq, j1(store).percent], [2, null]);
  store.takeSnapshot({ jobId: 'j1', queue: 'demo', name: 'simulate', state: 'waiting', epoch: 'e2', seq: 9, recovered: false });
  assert.deepEqual(store.position('j1'), { epoch: 'e2', seq: 9 });
});

test('a recovered snapshot does not jump over the events that follow it', () => {
  const store = running();
  const snapshot = { jobId: 'j1', queue: 'demo', state: 'completed', epoch: 'e1', seq: 5, recovered: true };
  assert.equal(store.takeSnapshot(snapshot), 'old');
  assert.equal(store.take('job-log', event(4, { line: 'kept' })), 'applied');
  assert.equal(store.take('job-completed', event(5, { result: 1 })), 'applied');
});

test('a listed job that is ahead of us is to be resumed, one that is behind is passed over', () => {
  const store = running();
  const listed = { id: 'j1', queue: 'demo', status: 'completed', epoch: 'e1', attempts: 1 };
  assert.equal(store.takeListed({ ...listed, seq: 8 }), 'behind');
  assert.equal(store.takeListed({ ...listed, seq: 3 }), 'old');
  assert.equal(store.takeListed({ ...listed, seq: 8, epoch: 'e2' }), 'applied');
  assert.equal(j1(store).state, 'completed');
});

test('the HTTP view of a job is read with its ISO times', () => {
  const store = new Store();
  store.takeListed({ id: 'h', queue: 'demo', name: 'n', status: 'failed', error: 'boom', attempts: 2, maxAttempts: 3, progress: 40,
    createdAt: '2024-01-01T00:00:00.000Z', processedAt: '2024-01-01T00:00:01.000Z', finishedAt: '2024-01-01T00:00:03.500Z', epoch: 'e', seq: 9 });
  const job = store.jobs.get('h');
  assert.equal(job.finishedAt - job.startedAt, 2500);
  assert.deepEqual([job.state, job.attempt, job.percent, job.error], ['failed', 2, 40, 'boom']);
});

test('a failure with tries left waits for the next, which forgets the progress and remembers the error', () => {
  const store = running();
  store.take('job-failed', event(4, { error: 'boom', attempts: 1, maxAttempts: 3, final: false, retryAt: T + 9000 }));
  assert.deepEqual([j1(store).state, j1(store).retryAt], ['delayed', T + 9000]);
  assert.deepEqual(store.drain().finished, []);
  store.take('job-queue-to-start', event(5, { attempt: 2 }));
  const { state, percent, error, previousError, retryAt } = j1(store);
  assert.deepEqual({ state, percent, error, previousError, retryAt },
    { state: 'active', percent: null, error: null, previousError: 'boom', retryAt: null });
});

test('a retry by hand opens a finished job again; nothing else does', () => {
  const store = running();
  store.take('job-failed', event(4, { error: 'boom', final: true }));
  store.take('job-progress', event(5, { percent: 70 }));
  assert.equal(j1(store).state, 'failed');
  store.take('job-queued', event(6, { attempt: 2, name: 'simulate' }));
  assert.deepEqual([j1(store).state, j1(store).finishedAt, j1(store).error], ['waiting', null, null]);
});

test('a finished job is told once', () => {
  const store = running();
  store.take('job-completed', event(4, { result: null }));
  store.take('job-completed', event(4, { result: null }));
  assert.deepEqual(store.drain().finished.map(({ jobId }) => jobId), ['j1']);
  assert.deepEqual(store.drain().finished, []);
});

test('a job asked to stop stays cancelling while it still reports', () => {
  const store = running();
  store.mark('j1', { state: 'cancelling' });
  store.take('job-progress', event(4, { percent: 60 }));
  assert.equal(j1(store).state, 'cancelling');
  store.take('job-cancelled', event(5, { reason: 'asked' }));
  assert.equal(j1(store).state, 'cancelled');
});

test('an event of an unknown kind moves the position and nothing else', () => {
  const store = running();
  assert.equal(store.take('job-annotated', event(4, { text: 'x' })), 'applied');
  assert.deepEqual([j1(store).seq, j1(store).state], [4, 'active']);
});

test('log lines are bounded, and history fills in before what came live without repeating it', () => {
  const store = running();
  store.take('job-log', event(4, { line: 'four' }));
  store.take('job-log', event(5, { line: 'five' }));
  store.takeHistory('j1', [['job-log', event(2, { line: 'two' })], ['job-log', event(4, { line: 'four' })],
    ['job-log', event(9, { line: 'not reached yet' })], ['job-log', event(3, { epoch: 'other', line: 'another life' })]]);
  assert.deepEqual(j1(store).log.lines.map(({ text }) => text), ['two', 'four', 'five']);
  store.take('job-log', event(6, { line: 'six' }));
  assert.deepEqual([j1(store).log.lines.map(({ text }) => text), j1(store).log.dropped], [['four', 'five', 'six'], 1]);
});

test('a reset within one life keeps the log lines, another life does not', () => {
  const store = running();
  store.take('job-log', event(4, { line: 'kept' }));
  store.replace({ id: 'j1', queue: 'demo', status: 'active', epoch: 'e1', seq: 9 });
  assert.equal(j1(store).log.lines.length, 1);
  store.replace({ id: 'j1', queue: 'demo', status: 'active', epoch: 'e2', seq: 1 });
  assert.equal(j1(store).log.lines.length, 0);
});

test('counts follow the events between two polls', () => {
  const store = new Store();
  store.takeCounts('demo', { waiting: 4, active: 0, completed: 1, failed: 0 });
  store.take('job-queued', event(1, {}));
  store.take('job-queue-to-start', event(2, {}));
  assert.deepEqual(store.queue('demo').counts, { waiting: 4, active: 1, completed: 1, failed: 0 });
  store.take('job-completed', event(3, {}));
  assert.equal(store.queue('demo').counts.completed, 2);
  assert.equal(store.hidden('demo'), 5);
});

test('a full queue lets its oldest job at rest go and keeps those at work', () => {
  const store = running();
  for (const id of ['j2', 'j3', 'j4']) store.take('job-queued', event(1, { jobId: id, timestamp: T + 50_000 + Number(id[1]) }));
  assert.deepEqual(store.listed('demo').map(({ jobId }) => jobId), ['j1', 'j4', 'j3']);
});

test('progress of a job there is no room for does not push out another that works', () => {
  const store = new Store({ jobsPerQueue: 1 });
  store.take('job-queued', event(1, {}));
  store.take('job-queue-to-start', event(2, {}));
  assert.equal(store.take('job-progress', event(5, { jobId: 'j2' })), 'hidden');
  store.take('job-completed', event(3, {}));
  assert.equal(store.take('job-progress', event(6, { jobId: 'j2' })), 'gap');
});

test('jobs are listed running first, then waiting, then finished, the newest of each first', () => {
  const store = new Store();
  const listed = (id, status, at, extra) => store.takeListed({ id, queue: 'demo', status, createdAt: T + at, processedAt: T + at, ...extra });
  listed('w1', 'waiting', 1);
  listed('w2', 'delayed', 2);
  listed('d1', 'completed', 3, { finishedAt: T + 9 });
  listed('d2', 'failed', 4, { finishedAt: T + 8 });
  listed('r1', 'active', 5);
  listed('r2', 'stalled', 6);
  assert.deepEqual(store.listed('demo').map(({ jobId }) => jobId), ['r2', 'r1', 'w2', 'w1', 'd1', 'd2']);
});

test('a job nobody has heard of is waited for, and is forgotten when no longer looked at', () => {
  const store = new Store();
  store.pin('later');
  store.takeSnapshot({ jobId: 'later', state: 'unknown' });
  assert.equal(store.jobs.get('later').state, 'unknown');
  assert.equal(store.take('job-queued', event(1, { jobId: 'later', name: 'n' })), 'applied');
  assert.equal(store.jobs.get('later').state, 'waiting');
  store.pin('never');
  store.takeSnapshot({ jobId: 'never', state: 'unknown' });
  store.pin(null);
  assert.deepEqual([...store.jobs.keys()], ['later']);
});

test('names such as __proto__ are but names', () => {
  const store = new Store();
  store.takeListed({ id: '__proto__', queue: 'constructor', name: 'toString', status: 'active', epoch: 'e', seq: 1 });
  assert.equal(store.take('job-progress', event(2, { jobId: '__proto__', queue: 'constructor', epoch: 'e', percent: 7 })), 'applied');
  assert.equal(store.take('__proto__', event(3, { jobId: '__proto__', queue: 'constructor', epoch: 'e' })), 'applied');
  assert.equal(store.jobs.get('__proto__').percent, 7);
});
