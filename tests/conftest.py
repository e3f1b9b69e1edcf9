import logging

import structlog

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.jobs", "tests.fixtures.nodes"]

# What went wrong is told by warnings; every query of every test is too much to read.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
