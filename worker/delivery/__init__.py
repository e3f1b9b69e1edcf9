"""What follows a commit: cache drops, results, live messages, documents and events, owed in the outbox."""
