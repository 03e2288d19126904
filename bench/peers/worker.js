// BullMQ's worker on Node, as its manual starts it.
import { Worker } from "bullmq";

const { hostname, port } = new URL(process.env.BENCH_REDIS_URL);
const worker = new Worker("bench", async () => {}, {
  connection: { host: hostname, port: Number(port) },
  concurrency: Number(process.env.BENCH_CONCURRENCY),
});
worker.on("error", (error) => console.error(error));
