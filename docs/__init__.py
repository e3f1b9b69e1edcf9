"""The documentation, and the scripts that keep its reference pages and examples true."""
