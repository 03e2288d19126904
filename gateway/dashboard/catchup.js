// What to do when a queue's stream passed over something of a job: watch that one job from our last position until the
// missing events have come, then leave it to the queue's stream again. If the server will not replay, take its word
// for the job's present state instead (GET), which is a declared reset.

const AT_ONCE = 8;
const MOST_WAITING = 1000;
const PATIENCE = 8000;
const AGAIN_AFTER = 5000;

// A refusal that will not change by asking again.
const FINAL = new Set(['unknown-job', 'forbidden', 'unauthorized', 'bad-job-id']);

export class CatchUp {
  /** `keeps(jobId)`: the page watches this job anyway, so its watch is not to be ended. */
  constructor({ call, getJob, store, keeps }) {
    Object.assign(this, { call, getJob, store, keeps });
    this.waiting = new Set();
    this.running = new Map();
    this.life = 0;
  }

  want(jobId) {
    if (this.running.has(jobId) || this.waiting.size >= MOST_WAITING) return;
    this.waiting.add(jobId);
    this.next();
  }

  /** The connection is gone: whatever was asked for on it will not come. */
  reset() {
    this.life += 1;
    this.waiting.clear();
    for (const { reached } of this.running.values()) reached(false);
    this.running.clear();
  }

  /** A message about this job was taken. */
  moved(jobId) {
    const run = this.running.get(jobId);
    if (run?.target && this.isAt(jobId, run.target)) run.reached(true);
  }

  isAt(jobId, target) {
    const { epoch, seq } = this.store.position(jobId) ?? {};
    return epoch === target.epoch && seq >= target.seq;
  }

  next() {
    for (const jobId of this.waiting) {
      if (this.running.size >= AT_ONCE) return;
      this.waiting.delete(jobId);
      this.run(jobId, this.life);
    }
  }

  async run(jobId, life) {
    const run = { target: null, reached: () => {} };
    const arrival = new Promise((resolve) => { run.reached = resolve; });
    this.running.set(jobId, run);
    const done = await this.resume(jobId, run, arrival).catch(() => false);
    if (life !== this.life) return;
    if (!done) await this.takeState(jobId);
    if (life !== this.life) return;
    this.running.delete(jobId);
    this.next();
  }

  async resume(jobId, run, arrival) {
    const since = this.store.position(jobId);
    const { snapshot } = await this.call('subscribe-to-job', since ? { jobId, since } : { jobId });
    run.target = { epoch: snapshot?.epoch ?? null, seq: snapshot?.seq ?? 0 };
    const timer = setTimeout(() => run.reached(false), PATIENCE);
    this.moved(jobId);
    const done = await arrival;
    clearTimeout(timer);
    if (!this.keeps(jobId)) this.call('unsubscribe-from-job', { jobId }).catch(() => {});
    return done;
  }

  async takeState(jobId) {
    const { life } = this;
    try {
      const job = await this.getJob(jobId);
      if (life === this.life) this.store.replace(job);
    } catch (error) {
      if (!FINAL.has(error.code)) setTimeout(() => life === this.life && this.want(jobId), AGAIN_AFTER);
    }
  }
}
