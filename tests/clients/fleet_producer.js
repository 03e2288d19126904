// Adds jobs under ids of their own as a Node service would, with bullmq and nothing of jobcast: <prefix>-0, <prefix>-1 ...
// usage: fleet_producer.js <redis url> <queue> <prefix> <how many> <data> <opts>
import { Queue } from "bullmq";
import { Redis } from "ioredis";

const [url, name, prefix, count, data, opts = "{}"] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const queue = new Queue(name, { connection });

const numbers = [...Array(Number(count)).keys()];
const jobs = numbers.map((n) => ({ name: "go", data: JSON.parse(data), opts: { ...JSON.parse(opts), jobId: `${prefix}-${n}` } }));
for (let at = 0; at < jobs.length; at += 50) await queue.addBulk(jobs.slice(at, at + 50));
console.log(JSON.stringify(jobs.map((job) => job.opts.jobId)));
await queue.close();
connection.disconnect();
