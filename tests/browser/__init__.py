"""Flower's pages in a real browser: `make browser`."""
