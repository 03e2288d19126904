import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as format from '../../../gateway/dashboard/format.js';
import { backoff } from '../../../gateway/dashboard/backoff.js';

test('a percentage is rounded down: only what is finished reads 100', () => {
  assert.deepEqual([0, 41.73, 99.97, 100, 250, -3, null, Number.NaN].map(format.percent), ['0%', '41.7%', '99.9%', '100%', '100%', '0%', '', '']);
  assert.equal(format.percent(0.3), '0.3%');
});

test('durations are as exact as is of use', () => {
  const ms = [0, 420, 4200, 9960, 59_499, 59_999, 187_000, 7_500_000, 273_600_000, -1, null];
  assert.deepEqual(ms.map(format.duration), ['0 ms', '420 ms', '4.2 s', '10 s', '59 s', '1 m 00 s', '3 m 07 s', '2 h 05 m', '3 d 04 h', '', '']);
});

test('a running clock never runs backwards of zero', () => {
  assert.deepEqual([-5000, 0, 59_999, 61_000, 3_671_000].map(format.clock), ['0:00', '0:00', '0:59', '1:01', '1:01:11']);
});

test('terminal escapes and directional overrides are shown, not obeyed', () => {
  assert.equal(format.clean('\x1b[31mred\x07\x7f'), '\\x1b[31mred\\x07\\x7f');
  assert.equal(format.clean('invoice\u202egpj.exe'), 'invoice⟨U+202E⟩gpj.exe');
  assert.equal(format.clean('a\tb\r\nc\rd'), 'a\tb\nc\\x0dd');
  assert.equal(format.clean('تقرير 報告'), 'تقرير 報告');
});

test('one line is one line, and short', () => {
  assert.equal(format.oneLine('a\n  b\tc '), 'a b c');
  assert.equal(format.oneLine({ done: 7 }), '{"done":7}');
  assert.equal(format.oneLine('x'.repeat(1e6), 10), `${'x'.repeat(9)}…`);
  assert.equal(format.oneLine(null), '');
});

test('a block says how much of it was left out', () => {
  assert.equal(format.block({ a: 1 }), '{\n  "a": 1\n}');
  assert.match(format.block('y'.repeat(50), 10), /^y{10}\n… 40 more characters$/);
});

test('what a job is doing: stage and details, else an object it reported', () => {
  assert.equal(format.activity({ stage: 'hashing', details: '/usr', progress: 3 }), 'hashing · /usr');
  assert.equal(format.activity({ stage: null, details: null, progress: { done: 7 } }), '{"done":7}');
  assert.equal(format.activity({ stage: null, details: null, progress: 3 }), '');
});

test('elapsed time runs while the job does, then stands; before a retry it counts down', () => {
  const job = { startedAt: 1000, finishedAt: null, retryAt: null, running: true, processingTime: null };
  assert.equal(format.elapsed(job, 8000), '0:07');
  assert.equal(format.elapsed({ ...job, running: false, finishedAt: 5200 }, 99_000), '4.2 s');
  assert.equal(format.elapsed({ ...job, running: false, startedAt: null, retryAt: 20_000 }, 8000), 'in 0:12');
  assert.equal(format.elapsed({ ...job, running: false, startedAt: null, finishedAt: 5200 }, 99_000), '');
});

test('attempts are told where there is more than one', () => {
  assert.equal(format.attempts({ attempt: 1, maxAttempts: 1 }), '');
  assert.equal(format.attempts({ attempt: 2, maxAttempts: 3 }), 'attempt 2 of 3');
  assert.equal(format.attempts({ attempt: 2, maxAttempts: 1 }), 'attempt 2');
});

test('a refusal is told in the words of the server', () => {
  assert.equal(format.refusal({ code: 'unavailable', message: 'Redis is away.', retryable: true }), 'Redis is away. (unavailable) — worth trying again');
});

test('the wait before a reconnect doubles from one second to thirty and is drawn by lot', () => {
  const shortest = [0, 1, 2, 3, 4, 9, 500].map((tries) => backoff(tries, () => 0));
  const longest = [0, 1, 2, 3, 4, 9, 500].map((tries) => backoff(tries, () => 1));
  assert.deepEqual(shortest, [1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  assert.deepEqual(longest, [2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});
