"""Measurements that are not tests: each is a command of its own and prints what it found."""
