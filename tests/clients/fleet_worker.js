// Works queues as a Node service would, with bullmq and nothing of jobcast, and notes in Redis what it does: the list
// "ledger" has "<who> <start|end> <job id>" of each attempt, the hash "effects" what a job did to the outside, once.
// A job waits for data.until to be a key of Redis, then data.ms; it fails if data.fails, or data.failsFirst at its first
// attempt; it returns who ran it, and its children's results by their ids.
// usage: fleet_worker.js <redis url> <who> <options of bullmq's Worker> <queue>...
import { UnrecoverableError, Worker } from "bullmq";
import { Redis } from "ioredis";
import { setTimeout as pause } from "node:timers/promises";

const [url, who, options, ...queues] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const notes = new Redis(url);
const once = "if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then redis.call('INCR', KEYS[2]) end";

async function run(job) {
  const { ms = 0, until, fails, failsFirst } = job.data ?? {};
  await notes.rpush("ledger", `${who} start ${job.id}`);
  await notes.eval(once, 2, "effects", "effects:count", job.id, who);
  while (until && !(await notes.exists(until))) await pause(10);
  await pause(ms);
  const error = fails ?? (job.attemptsStarted === 1 ? failsFirst : undefined);
  if (error) throw new UnrecoverableError(error);
  const children = Object.entries(await job.getChildrenValues()).map(([key, value]) => [key.split(":").pop(), value]);
  await notes.rpush("ledger", `${who} end ${job.id}`);
  return { by: who, children: Object.fromEntries(children) };
}

const workers = queues.map((queue) => new Worker(queue, run, { connection, concurrency: 4, ...JSON.parse(options) }));
for (const worker of workers) worker.on("error", (error) => console.error(error.message));
await Promise.all(workers.map((worker) => worker.waitUntilReady()));
console.log("ready");
process.on("SIGTERM", async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  process.exit(0);
});
