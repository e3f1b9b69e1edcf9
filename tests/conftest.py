import logging

import structlog

# In the order of their imports: pytest rewrites the asserts of a plugin before anything else imports it.
pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.nodes",
    "tests.fixtures.copies",
    "tests.fixtures.jobs",
    "tests.fixtures.beats",
    "tests.fixtures.poor_redis",
    "tests.fixtures.command_line",
    "tests.fixtures.producing",
    "tests.fixtures.crashes",
    "tests.fixtures.large_documents",
    "tests.fixtures.other_redis",
    "tests.fixtures.deployed",
    "tests.fixtures.flower",
    "tests.fixtures.chromium",
    "tests.fixtures.service",
]

# What went wrong is told by warnings; every query of every test is too much to read.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
