// Adds a job as a Node service would, with bullmq and nothing of jobcast, and waits for its result.
// usage: enqueue.js <redis url> <queue> <name> <data>
import { Queue, QueueEvents } from "bullmq";
import { Redis } from "ioredis";

const [url, name, job, data] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const queue = new Queue(name, { connection });
const events = new QueueEvents(name, { connection });
await events.waitUntilReady();

const added = await queue.add(job, JSON.parse(data), { jobId: `node-${process.pid}` });
const result = await added.waitUntilFinished(events, 20000);
console.log(JSON.stringify({ jobId: added.id, result, state: await added.getState() }));
await events.close();
await queue.close();
connection.disconnect();
