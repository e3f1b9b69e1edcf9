// Put orders into BullMQ's queue: JSON lines on standard input.
const { readFileSync } = require("node:fs");
const { Queue } = require("bullmq");

const CHUNK = 1000;

async function main() {
  const lines = readFileSync(0, "utf8").split("\n").filter(Boolean);
  const jobs = lines.map((line) => JSON.parse(line)).map((data) => ({ name: "transfer", data, opts: { jobId: data.id } }));
  const queue = new Queue("transfers", { connection: { url: process.env.TRIVET_REDIS_URL } });
  for (let first = 0; first < jobs.length; first += CHUNK) {
    await queue.addBulk(jobs.slice(first, first + CHUNK));
  }
  await queue.close();
}

main();
