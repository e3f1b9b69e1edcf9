"""The business: one slice a file; slices know the runtime's public names and `tasks.model`, nothing else."""
