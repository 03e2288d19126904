// What the page knows: jobs, queues, positions. Messages in, records out; no DOM, no network, no clock.
//
// The rule it keeps is the protocol's promise: the seq applied to a job only grows within an epoch, and no number
// is passed over in silence. A message that would break the rule is not applied; the answer says so and the caller
// asks the server for what is missing.

import { TERMINAL, advance, blank, fromServer, mergeLines } from './record.js';

export class Store {
  constructor({ jobsPerQueue = 200, linesPerJob = 200 } = {}) {
    this.jobsPerQueue = jobsPerQueue;
    this.linesPerJob = linesPerJob;
    this.jobs = new Map();
    this.queues = new Map();
    this.pinned = null;
    this.dirty = nothing();
  }

  /** An event: 'applied', 'old' (seen before), 'gap' (something is missing before it) or 'hidden' (no room for its job). */
  take(kind, event) {
    const job = this.jobs.get(event.jobId);
    const last = job?.epoch === event.epoch ? job.seq : 0;
    if (event.seq <= last) return 'old';
    if (!job && !this.hasRoom(event.queue, kind)) return 'hidden';
    if (event.seq > last + 1 + (event.skipped ?? 0)) return 'gap';
    const known = last > 0 ? job : this.begin(event);
    this.follow(known, () => advance(known, kind, event, this.linesPerJob));
    return 'applied';
  }

  /** The first event of a life: whatever was known under this id belonged to another one. */
  begin(event) {
    return this.put(Object.assign(blank(event.jobId), { queue: event.queue ?? null, epoch: event.epoch }));
  }

  /** Do the change and note what follows from it: counts moved, a job finished, rows to order anew. */
  follow(job, change) {
    const [before, attempt] = [job.state, job.attempt];
    change();
    this.dirty.jobs.add(job.jobId);
    if (job.state === before && job.attempt === attempt) return;
    this.count(job.queue, before, job.state);
    this.dirty.order.add(job.queue);
    if (TERMINAL.has(job.state)) this.dirty.finished.push(job);
  }

  // The server's counts are asked for only now and then; in between they follow the events.
  count(queueName, before, after) {
    const counts = this.queues.get(queueName)?.counts;
    if (!counts) return;
    if (counts[before] > 0) counts[before] -= 1;
    counts[after] = (counts[after] ?? 0) + 1;
  }

  /** A `job-snapshot` on a subscription. */
  takeSnapshot(snapshot) {
    const job = this.jobs.get(snapshot.jobId);
    const sameLife = job && job.epoch !== null && job.epoch === snapshot.epoch;
    // Recovered: the missed events follow one by one; jumping ahead to the snapshot would pass them over.
    if (sameLife && snapshot.recovered !== false && snapshot.seq !== job.seq) return 'old';
    this.replace(snapshot);
    return 'applied';
  }

  /** A job seen in a list: 'behind' if we hold an older position of the same life, which is better resumed than overwritten. */
  takeListed(listed) {
    const jobId = listed.jobId ?? listed.id;
    const job = this.jobs.get(jobId);
    if (job && job.epoch !== null && job.epoch === (listed.epoch ?? null)) {
      return listed.seq > job.seq ? 'behind' : 'old';
    }
    if (job && job.epoch !== null && !listed.epoch) return 'old';
    this.replace(listed);
    return 'applied';
  }

  /** Take the server's view whole. Log lines stay if they are of the same life: they are still true. */
  replace(given) {
    const fresh = fromServer(given);
    const old = this.jobs.get(fresh.jobId);
    if (old && old.epoch === fresh.epoch && fresh.epoch !== null) {
      fresh.log = { ...old.log, complete: false, loading: false, version: old.log.version + 1 };
      Object.assign(fresh, { note: old.note, previousError: old.previousError });
    }
    if (old && old.queue !== fresh.queue) this.drop(fresh.jobId);
    if (old && TERMINAL.has(fresh.state) && !TERMINAL.has(old.state)) this.dirty.finished.push(fresh);
    this.put(fresh);
  }

  takeHistory(jobId, events) {
    const job = this.jobs.get(jobId);
    if (!job) return;
    mergeLines(job, events, this.linesPerJob);
    this.dirty.jobs.add(jobId);
  }

  takeCounts(queueName, counts) {
    this.queue(queueName).counts = { ...counts };
    this.dirty.queues.add(queueName);
  }

  /** Facts about a job that no event carries: a request under way, a refusal. */
  mark(jobId, facts) {
    const job = this.jobs.get(jobId);
    if (!job) return;
    this.follow(job, () => Object.assign(job, facts));
  }

  markQueue(queueName, facts) {
    Object.assign(this.queue(queueName), facts);
    this.dirty.queues.add(queueName);
  }

  position(jobId) {
    const job = this.jobs.get(jobId);
    return job?.epoch && job.seq > 0 ? { epoch: job.epoch, seq: job.seq } : undefined;
  }

  queue(name) {
    if (!this.queues.has(name)) this.queues.set(name, { name, counts: null, live: 'pending', problem: null, jobs: new Set() });
    return this.queues.get(name);
  }

  /** A queue's jobs as the page lists them: running, then waiting, then finished; the newest of each first. */
  listed(queueName) {
    const jobs = [...this.queue(queueName).jobs].map((jobId) => this.jobs.get(jobId));
    return jobs.sort((a, b) => rank(a) - rank(b) || time(b) - time(a) || (a.jobId < b.jobId ? 1 : -1));
  }

  /** How many jobs of the queue the server has and the page does not show. */
  hidden(queueName) {
    const { counts, jobs } = this.queue(queueName);
    const all = Object.values(counts ?? {}).reduce((sum, number) => sum + (Number.isFinite(number) ? number : 0), 0);
    return Math.max(0, all - jobs.size);
  }

  unfinished(queueName) {
    return this.listed(queueName).filter((job) => !TERMINAL.has(job.state)).map((job) => job.jobId);
  }

  /** What changed since the last call. */
  drain() {
    const { dirty } = this;
    this.dirty = nothing();
    return dirty;
  }

  pin(jobId) {
    const before = this.pinned;
    this.pinned = jobId;
    if (before !== null && before !== jobId && !this.jobs.get(before)?.queue) this.drop(before);
  }

  put(job) {
    this.jobs.set(job.jobId, job);
    this.dirty.jobs.add(job.jobId);
    if (job.queue === null) return job;
    const queue = this.queue(job.queue);
    queue.jobs.add(job.jobId);
    this.dirty.order.add(job.queue);
    if (queue.jobs.size > this.jobsPerQueue) this.evict(queue, job.jobId);
    return job;
  }

  // Progress of a job there is no room for must not push out another running job, which would then push this one
  // out in turn, each time at the price of a snapshot.
  hasRoom(queueName, kind) {
    const queue = this.queues.get(queueName);
    if (!queue || queue.jobs.size < this.jobsPerQueue) return true;
    if (kind !== 'job-progress' && kind !== 'job-log') return true;
    return [...queue.jobs].some((jobId) => !this.jobs.get(jobId).running);
  }

  evict(queue, newest) {
    const jobs = [...queue.jobs].filter((jobId) => jobId !== newest && jobId !== this.pinned).map((id) => this.jobs.get(id));
    const rest = jobs.filter((job) => !job.running);
    const oldest = (rest.length ? rest : jobs).reduce((a, b) => (time(b) < time(a) ? b : a));
    this.drop(oldest.jobId);
  }

  drop(jobId) {
    const job = this.jobs.get(jobId);
    if (!job) return;
    this.jobs.delete(jobId);
    if (job.queue !== null) {
      this.queue(job.queue).jobs.delete(jobId);
      this.dirty.order.add(job.queue);
    }
    this.dirty.jobs.add(jobId);
  }
}

function nothing() {
  return { jobs: new Set(), order: new Set(), queues: new Set(), finished: [] };
}

function rank(job) {
  if (job.running) return 0;
  return TERMINAL.has(job.state) ? 2 : 1;
}

function time(job) {
  if (TERMINAL.has(job.state)) return job.finishedAt ?? job.queuedAt ?? 0;
  return (job.running ? job.startedAt : job.queuedAt) ?? job.queuedAt ?? 0;
}
