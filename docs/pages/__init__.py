"""One module for each reference page; each has a function `page` that returns its Markdown."""
