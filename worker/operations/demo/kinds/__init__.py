"""The kinds of jobs in the workload, slice by slice: each plans one job, and says what must become of it."""
