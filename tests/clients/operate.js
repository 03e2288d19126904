// Presses Bull Board's buttons, as its page does.
// usage: operate.js <redis url> <queue> <path below the queue> ...
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { Queue } from "bullmq";
import express from "express";
import { Redis } from "ioredis";

const [url, name, ...paths] = process.argv.slice(2);
const queue = new Queue(name, { connection: new Redis(url, { maxRetriesPerRequest: null }) });
const adapter = new ExpressAdapter();
createBullBoard({ queues: [new BullMQAdapter(queue)], serverAdapter: adapter });

const server = express().use("/", adapter.getRouter()).listen(0, "127.0.0.1", async () => {
  const answers = [];
  for (const path of paths) {
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/api/queues/${name}/${path}`, { method: "PUT" });
    answers.push(answer.status);
  }
  console.log(JSON.stringify(answers));
  server.close();
  await queue.close();
  process.exit(0);
});
