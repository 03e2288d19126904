// Asks Bull Board what it sees of a queue, as its page does.
// usage: board.js <redis url> <queue>
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { Queue } from "bullmq";
import express from "express";
import { Redis } from "ioredis";

const [url, name] = process.argv.slice(2);
const queue = new Queue(name, { connection: new Redis(url, { maxRetriesPerRequest: null }) });
const adapter = new ExpressAdapter();
createBullBoard({ queues: [new BullMQAdapter(queue)], serverAdapter: adapter });

const server = express().use("/", adapter.getRouter()).listen(0, "127.0.0.1", async () => {
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/api/queues?activeQueue=${name}&page=1`);
  const { queues } = await answer.json();
  const [{ counts, jobs }] = queues;
  const shown = jobs.map((job) => ({ id: job.id, name: job.name, progress: job.progress, returnValue: job.returnValue }));
  console.log(JSON.stringify({ counts, jobs: shown }));
  server.close();
  await queue.close();
  process.exit(0);
});
