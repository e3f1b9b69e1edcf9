"""What is measured, one module a mode; each returns its raw runs and its ratios."""
