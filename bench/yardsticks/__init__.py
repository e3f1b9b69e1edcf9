"""What throughput is measured by beside other queues: the database alone, and our batches without a queue."""
