"""`docs/asyncapi.json`: what is taken, answered, refused and published, as AsyncAPI 3, made from the jobs."""
