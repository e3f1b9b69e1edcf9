// BullMQ's worker, one process.
const { Worker } = require("bullmq");
const { Stores } = require("./stores");

const JOBS_AT_ONCE = 10;

const stores = new Stores(JOBS_AT_ONCE);
const worker = new Worker("transfers", async (job) => stores.transfer(job.data), {
  connection: { url: process.env.TRIVET_REDIS_URL, maxRetriesPerRequest: null },
  concurrency: JOBS_AT_ONCE,
  // Nobody asks for the results: a job that is done leaves Redis at once.
  removeOnComplete: { count: 0 },
});

worker.on("failed", (job, error) => console.error(job?.id, error));
worker.on("error", (error) => console.error(error));
process.on("SIGTERM", async () => {
  await worker.close();
  process.exit();
});
