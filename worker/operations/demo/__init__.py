"""A mixed workload on real servers, and the proof that it adds up: what `trivet demo` runs."""
