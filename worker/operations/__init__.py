"""Everything that people use to run the worker: the command line, health, logs, embedded servers."""
