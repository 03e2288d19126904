import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { CatchUp } from '../../../gateway/dashboard/catchup.js';
import { Store } from '../../../gateway/dashboard/store.js';

const event = (seq, fields = {}) => ({ jobId: 'j', queue: 'demo', epoch: 'e', attempt: 1, timestamp: seq, seq, ...fields });

/** A server that holds ten events of job j; `answers` says how it answers a subscription. */
function place(answer, getJob = async () => assert.fail('asked for the state')) {
  const store = new Store();
  const calls = [];
  const catchUp = new CatchUp({ store, getJob, keeps: () => false, call: async (name, payload) => { calls.push([name, payload]); return answer(payload); } });
  store.take('job-queued', event(1));
  const hear = (kind, given) => { if (store.take(kind, given) === 'applied') catchUp.moved('j'); };
  return { store, calls, catchUp, hear };
}

test('a gap is filled by watching the job from our position until the events have come', async () => {
  const { store, calls, catchUp, hear } = place(() => ({ ok: true, recovered: true, snapshot: { epoch: 'e', seq: 3 } }));
  catchUp.want('j');
  await turn();
  hear('job-queue-to-start', event(2));
  await turn();
  assert.deepEqual(calls, [['subscribe-to-job', { jobId: 'j', since: { epoch: 'e', seq: 1 } }]]);
  hear('job-progress', event(3, { percent: 5 }));
  await turn();
  assert.deepEqual(calls[1], ['unsubscribe-from-job', { jobId: 'j' }]);
  assert.deepEqual(store.position('j'), { epoch: 'e', seq: 3 });
});

test('a refused watch is made up for by the state of the job', async () => {
  const refuse = () => { throw Object.assign(new Error('no'), { code: 'too-many-subscriptions' }); };
  const { store, catchUp } = place(refuse, async () => ({ id: 'j', queue: 'demo', status: 'completed', epoch: 'e', seq: 9, result: 1 }));
  catchUp.want('j');
  await turn();
  await turn();
  assert.deepEqual([store.jobs.get('j').state, store.position('j').seq], ['completed', 9]);
});

test('a job is asked for once at a time, and no more than eight at once', async () => {
  const { calls, catchUp } = place(() => ({ ok: true, snapshot: { epoch: 'other', seq: 3 } }));
  for (let i = 0; i < 20; i += 1) {
    catchUp.want(`job-${i}`);
    catchUp.want(`job-${i}`);
  }
  await turn();
  assert.equal(calls.length, 8);
  catchUp.reset();
  await turn();
  assert.equal(catchUp.running.size + catchUp.waiting.size, 0);
});
