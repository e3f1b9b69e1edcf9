"""What takes long because it waits for whole stacks; `make faults` runs it."""
