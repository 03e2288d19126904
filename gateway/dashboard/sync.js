// Keeps the store in step with the server: which queues and jobs are watched, what is fetched, what is asked for again.

import * as api from './api.js';
import { CatchUp } from './catchup.js';
import { markOf } from './record.js';

const POLL_EVERY = 4_000;

export class Sync {
  /** `onProblem(text | null)`: what the page cannot learn at present. `changed()`: the store may have news.
   * `known()`: the queues were listed, so that an empty page means no jobs. */
  constructor({ connection, store, changed, known, onProblem }) {
    Object.assign(this, { connection, store, changed, known, onProblem });
    this.jobId = null;
    this.watched = new Set();
    this.connected = false;
    this.clockOffset = 0;
    this.catchUp = new CatchUp({
      call: (event, payload) => connection.call(event, payload), getJob: api.getJob, store,
      keeps: (jobId) => jobId === this.jobId,
    });
  }

  start() {
    setInterval(() => document.hidden || this.poll(), POLL_EVERY);
    document.addEventListener('visibilitychange', () => document.hidden || this.poll());
  }

  /** Show one job, or with null all queues. Leaves what is no longer shown. */
  show(jobId) {
    if (this.jobId !== null && this.connected) this.leave('unsubscribe-from-job', { jobId: this.jobId });
    this.jobId = jobId;
    this.store.pin(jobId);
    if (jobId !== null) {
      this.watched.forEach((queueName) => this.leave('unsubscribe-from-queue', { queueName }));
      this.watched.clear();
      this.watchJob();
    } else {
      this.poll();
    }
  }

  leave(event, payload) {
    this.connection.call(event, payload).catch(() => {});
  }

  lost() {
    this.connected = false;
    this.watched.clear();
    this.catchUp.reset();
    for (const name of this.store.queues.keys()) this.store.markQueue(name, { live: 'pending', problem: null });
    this.changed();
  }

  hear(event, payload) {
    if (event === 'connected') this.begin(payload);
    else if (event === 'job-snapshot') this.took(payload.jobId, this.store.takeSnapshot(payload));
    else if (payload.jobId && Number.isInteger(payload.seq)) this.took(payload.jobId, this.store.take(event, payload));
  }

  took(jobId, outcome) {
    if (outcome === 'gap') this.catchUp.want(jobId);
    if (outcome !== 'applied') return;
    this.catchUp.moved(jobId);
    this.changed();
  }

  begin({ timestamp }) {
    this.connected = true;
    // Elapsed times are counted from the server's stamps; a wrong clock on this side must not show in them.
    if (Number.isFinite(timestamp)) this.clockOffset = timestamp - Date.now();
    if (this.jobId !== null) this.watchJob();
    else this.poll();
  }

  async watchJob() {
    const { jobId } = this;
    if (!this.connected) return;
    const since = this.store.position(jobId);
    try {
      await this.connection.call('subscribe-to-job', since ? { jobId, since } : { jobId });
      if (jobId === this.jobId) this.onProblem(null);
    } catch (error) {
      if (jobId === this.jobId && error.code !== 'not-connected') this.onProblem({ what: 'This job cannot be followed', error });
    }
  }

  /** Learn which queues there are and how many jobs each has; watch those that are new. */
  async poll() {
    if (this.jobId !== null) return;
    try {
      const queues = await api.queues();
      for (const { name, counts, paused, reasons, stuck } of queues) {
        this.store.takeCounts(name, counts ?? {});
        this.store.markQueue(name, { paused, reasons, stuck });
      }
      if (this.jobId !== null) return;
      this.onProblem(null);
      this.known();
      queues.forEach(({ name }) => this.watchQueue(name));
      this.miss(new Set(queues.map(({ name }) => name)));
    } catch (error) {
      // That the server is out of reach is told once, by the state of the connection.
      if (this.connected || error.code !== 'unreachable') this.onProblem({ what: 'The queues cannot be listed', error });
    }
    this.changed();
  }

  // A server that came back with nothing no longer lists what this page still shows.
  miss(listed) {
    for (const { name, live } of this.store.queues.values()) {
      if (listed.has(name) || live === 'gone' || !this.connected) continue;
      this.watched.delete(name);
      this.store.markQueue(name, { live: 'gone', counts: {}, problem: { message: 'the server no longer lists this queue.' } });
      this.store.unfinished(name).forEach((jobId) => this.catchUp.want(jobId));
    }
  }

  async watchQueue(queueName) {
    if (!this.connected || this.watched.has(queueName)) return;
    this.watched.add(queueName);
    try {
      const { snapshot } = await this.connection.call('subscribe-to-queue', { queueName });
      if (snapshot?.counts) this.store.takeCounts(queueName, snapshot.counts);
      this.store.markQueue(queueName, { live: 'live', problem: null });
      await this.fill(queueName, snapshot?.jobs ?? []);
    } catch (error) {
      this.watched.delete(queueName);
      if (error.code !== 'not-connected') this.store.markQueue(queueName, { live: 'refused', problem: error });
    }
    this.changed();
  }

  // The stream begins now; what was before it comes from the list. Jobs we hold an older position of are resumed from
  // there, so that their log lines are not lost to a mere reconnect; so are those that no list mentions any more.
  async fill(queueName, active) {
    const open = new Set(this.store.unfinished(queueName));
    const listed = [...active, ...await api.recent(queueName)];
    for (const job of listed) {
      const jobId = job.jobId ?? job.id;
      if (this.store.takeListed(job) === 'behind') this.catchUp.want(jobId);
      open.delete(jobId);
    }
    open.forEach((jobId) => this.catchUp.want(jobId));
  }

  /** Log lines from before this page looked. */
  async loadHistory(jobId) {
    const job = this.store.jobs.get(jobId);
    if (!job?.epoch || job.log.complete || job.log.loading) return;
    job.log.loading = true;
    try {
      this.store.takeHistory(jobId, await api.history(jobId));
    } catch (error) {
      this.store.mark(jobId, { log: { ...job.log, complete: true, loading: false, problem: error } });
    }
    this.changed();
  }

  /** The server's record of a job, for what the job is now. */
  async loadKept(jobId) {
    const job = this.store.jobs.get(jobId);
    if (!job || job.kept.loading) return;
    const at = markOf(job);
    job.kept = { ...job.kept, loading: true };
    const kept = await api.details(jobId).then((found) => ({ found, problem: null }), (problem) => ({ found: job.kept.found, problem }));
    this.store.mark(jobId, { kept: { ...kept, at, loading: false } });
    this.changed();
  }

  async submit(request) {
    const answer = await api.submit(request);
    this.poll();
    return answer;
  }

  cancel(jobId) {
    return this.act(jobId, 'cancel', api.cancel);
  }

  retry(jobId) {
    return this.act(jobId, 'retry', api.retry);
  }

  promote(jobId) {
    return this.act(jobId, 'promote', api.promote);
  }

  remove(jobId) {
    return this.act(jobId, 'remove', api.remove);
  }

  /** What became of it: `{what, answer}` or `{what, error}`. */
  async operate(queueName, what, body) {
    this.store.markQueue(queueName, { busy: what, note: null });
    this.changed();
    const note = await api.operate(queueName, what, body).then((answer) => ({ what, answer }), (error) => ({ what, error }));
    const { paused } = note.answer ?? {};
    this.store.markQueue(queueName, { busy: null, note, ...(paused === undefined ? {} : { paused }) });
    this.changed();
    this.poll();
    return note;
  }

  async act(jobId, name, request) {
    this.store.mark(jobId, { busy: name, note: null });
    this.changed();
    try {
      const answer = await request(jobId);
      this.accepted(jobId, answer);
    } catch (error) {
      this.store.mark(jobId, { busy: null, note: { what: name, error } });
    }
    this.changed();
  }

  // The events tell what became of it. Only "cancelling" has no event of its own.
  accepted(jobId, answer) {
    const running = this.store.jobs.get(jobId)?.running;
    const cancelling = answer?.state === 'cancelling' && running;
    const kept = { ...this.store.jobs.get(jobId)?.kept, at: null };
    this.store.mark(jobId, { busy: null, kept, ...(cancelling ? { state: 'cancelling' } : {}) });
  }
}
