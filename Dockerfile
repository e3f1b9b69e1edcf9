# The image of every process of Trivet. The first stage builds, the second has only what runs.
FROM python:3.12.12-slim-bookworm AS build
RUN python -m pip install --no-cache-dir uv==0.13.9
WORKDIR /build
ENV UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
RUN uv venv /opt/trivet
# What changes seldom comes first: the locked packages, by their hashes.
COPY requirements-runtime.lock ./
RUN uv pip sync --python /opt/trivet/bin/python --require-hashes --compile-bytecode requirements-runtime.lock
COPY pyproject.toml requirements.lock README.md LICENSE celeryconfig.py ./
COPY worker worker
COPY tasks tasks
COPY migrations migrations
RUN uv build --wheel --build-constraints requirements.lock --require-hashes --out-dir dist
RUN uv pip install --python /opt/trivet/bin/python --no-deps --no-index --compile-bytecode dist/*.whl

FROM python:3.12.12-slim-bookworm
COPY --from=build /opt/trivet /opt/trivet
ENV PATH=/opt/trivet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["trivet"]
CMD ["worker"]
