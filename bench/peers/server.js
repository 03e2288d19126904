// The peer a careful Node engineer would write: rooms, one subscriber connection, a channel followed from the first
// watcher to the last. No record, no snapshot, no resumption: it does less than jobcast, never more.
import { Redis } from "ioredis";
import { Server } from "socket.io";

const redis = new Redis(process.env.BENCH_REDIS_URL);
const io = new Server(Number(process.env.BENCH_PORT), { transports: ["websocket"], serveClient: false });
const JOB = "jobcast:{";
const QUEUE = "jobcast:queue:{";
const followed = new Map();

function roomOf(channel) {
  return channel.startsWith(QUEUE) ? `queue:${channel.slice(QUEUE.length, -1)}` : channel.slice(JOB.length, -1);
}

function follow(channel) {
  let ready = followed.get(channel);
  if (ready === undefined) {
    ready = redis.subscribe(channel);
    followed.set(channel, ready);
  }
  return ready;
}

function channelOf(room) {
  return room.startsWith("queue:") ? `${QUEUE}${room.slice(6)}}` : `${JOB}${room}}`;
}

io.of("/").adapter.on("delete-room", (room) => {
  const channel = channelOf(room);
  if (followed.delete(channel)) {
    redis.unsubscribe(channel);
  }
});

redis.on("message", (channel, message) => {
  const [name, payload] = JSON.parse(message);
  io.to(roomOf(channel)).emit(name, payload);
});

async function enter(socket, type, target, room, acknowledge) {
  socket.join(room);
  try {
    await follow(channelOf(room));
  } catch (error) {
    socket.leave(room);
    socket.emit("subscription-error", { code: "unavailable", message: error.message });
    return;
  }
  socket.emit("subscription-success", { type, target, message: `subscribed to ${type} ${target}` });
  if (typeof acknowledge === "function") {
    acknowledge({ ok: true });
  }
}

io.on("connection", (socket) => {
  socket.on("subscribe-to-job", ({ jobId }, acknowledge) => enter(socket, "job", jobId, jobId, acknowledge));
  socket.on("subscribe-to-queue", ({ queueName }, acknowledge) =>
    enter(socket, "queue", queueName, `queue:${queueName}`, acknowledge),
  );
});
