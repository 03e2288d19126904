// Does with schedules what a Node service would, with bullmq and nothing of jobcast; answers in JSON.
// usage: schedules.js <redis url> <queue> upsert (<id> <repeat> <template>)... | list | remove <id> | work <how many jobs>
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const [url, name, call, ...given] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const queue = new Queue(name, { connection });

const calls = {
  upsert: async (...words) => {
    for (let at = 0; at < words.length; at += 3) {
      await queue.upsertJobScheduler(words[at], JSON.parse(words[at + 1]), JSON.parse(words[at + 2]));
    }
  },
  list: async () => queue.getJobSchedulers(0, -1, true),
  remove: async (id) => queue.removeJobScheduler(id),
  work: async (count) => {
    const ran = [];
    let enough;
    const done = new Promise((resolve) => (enough = resolve));
    const worker = new Worker(name, async (job) => { ran.push(job.id); }, { connection, metrics: { maxDataPoints: 60 } });
    worker.on("completed", () => ran.length >= Number(count) && enough());
    await done;
    await worker.close();
    return ran;
  },
};

console.log(JSON.stringify(await calls[call](...given)) ?? null);
await queue.close();
connection.disconnect();
