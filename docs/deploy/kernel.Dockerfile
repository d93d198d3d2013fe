# A kernel: it runs agents in the checkout at /project. Built from the root of this repository:
#   docker build -f docs/deploy/kernel.Dockerfile -t tinytown-kernel .
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git bubblewrap \
    && rm -rf /var/lib/apt/lists/*

COPY core /src/core
COPY plugins /src/plugins
# Beside what a kernel needs, the plugins of your agents; their coding CLIs are for you to add.
ARG PLUGINS="prompts cli server shell ops sinks snapshots git authority sandbox mcp adapters claude codex metrics"
RUN cd /src && pip install --no-cache-dir ./core $(for name in $PLUGINS; do echo "./plugins/$name"; done) && rm -rf /src

RUN useradd --create-home --uid 10001 town && install -d -o town /project /state
USER town
WORKDIR /project
ENV TINYTOWN_TOWN=/project XDG_STATE_HOME=/state
CMD ["tt", "start"]
