// Adds a flow as a Node service would, with bullmq and nothing of jobcast, and tells the ids.
// usage: flow.js <redis url> <tree: {queue, name, data, opts, children}>
import { FlowProducer } from "bullmq";
import { Redis } from "ioredis";

const [url, tree] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const flows = new FlowProducer({ connection });

const wanted = ({ queue, children = [], ...job }) => ({ ...job, queueName: queue, children: children.map(wanted) });
const told = ({ job, children = [] }) => ({ id: job.id, name: job.name, children: children.map(told) });
console.log(JSON.stringify(told(await flows.add(wanted(JSON.parse(tree))))));
await flows.close();
connection.disconnect();
