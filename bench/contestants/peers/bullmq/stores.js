// The work of a transfer with Node's plain drivers, as bench.work does it in Python; clients stay open.
const { MongoClient } = require("mongodb");
const { Pool } = require("pg");
const Redis = require("ioredis");

const { TRIVET_POSTGRES_URL, TRIVET_MONGO_URL, TRIVET_REDIS_URL } = process.env;

// With names, so that PostgreSQL prepares each once a connection.
const LOCK = {
  name: "lock",
  text: "SELECT id, balance, currency FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
};
const MOVE = {
  name: "move",
  text: "UPDATE accounts SET balance = balance + $1 WHERE id = $2 RETURNING balance",
};
const RECORD = {
  name: "record",
  text:
    "INSERT INTO ledger_entries (movement_id, account_id, currency, amount, entered_at)" +
    " VALUES ($1, $2, $3, $4, now()), ($5, $6, $7, $8, now())",
};

class Stores {
  constructor(jobsAtOnce) {
    this.postgres = new Pool({ connectionString: TRIVET_POSTGRES_URL, max: jobsAtOnce });
    const mongo = new MongoClient(TRIVET_MONGO_URL, { writeConcern: { w: "majority" } });
    this.receipts = mongo.db("trivet").collection("bullmq_receipts");
    this.redis = new Redis(TRIVET_REDIS_URL);
  }

  async transfer(order) {
    const balances = await this.move(order);
    if (balances === null) return;
    const { id, source, target, amount } = order;
    await this.receipts.insertOne({ _id: id, source, target, amount, ...balances });
    await this.tell("bullmq.transfer", id);
  }

  async move(order) {
    const client = await this.postgres.connect();
    try {
      await client.query("BEGIN");
      const balances = await moved(client, order);
      await client.query("COMMIT");
      return balances;
    } catch (error) {
      await client.query("ROLLBACK");
      throw error;
    } finally {
      client.release();
    }
  }

  async tell(task, id) {
    const event = JSON.stringify({ id, type: task, time: new Date().toISOString() });
    const pipe = this.redis.pipeline();
    pipe.xadd("events", "MAXLEN", "~", 100000, "*", "event", event);
    pipe.publish(`events:${task}`, event);
    await pipe.exec();
  }
}

async function moved(client, { id, source, target, amount }) {
  const { rows } = await client.query({ ...LOCK, values: [[source, target]] });
  const { balance, currency } = rows.find((row) => row.id === source);
  // PostgreSQL's bigints come as strings.
  if (BigInt(balance) < BigInt(amount)) return null;
  const left = await client.query({ ...MOVE, values: [-amount, source] });
  const right = await client.query({ ...MOVE, values: [amount, target] });
  await client.query({ ...RECORD, values: [id, source, currency, -amount, id, target, currency, amount] });
  return { left: Number(left.rows[0].balance), right: Number(right.rows[0].balance) };
}

module.exports = { Stores };
