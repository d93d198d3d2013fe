# The townhall: REST, MCP and the web page. Built from the root of this repository:
#   docker build -f docs/deploy/townhall.Dockerfile -t tinytown-townhall .
FROM python:3.12-slim

COPY core /src/core
COPY plugins /src/plugins
ARG PLUGINS="prompts cli server ops sinks plans snapshots townhall"
RUN cd /src && pip install --no-cache-dir ./core $(for name in $PLUGINS; do echo "./plugins/$name"; done) && rm -rf /src

RUN useradd --create-home --uid 10001 town && install -d -o town /project /state
USER town
WORKDIR /project
# Kernels are workloads of their own, so it starts none.
ENV TINYTOWN_TOWN=/project XDG_STATE_HOME=/state TINYTOWN_NO_KERNEL=1
EXPOSE 8787
CMD ["tt", "townhall", "--bind", "0.0.0.0", "--port", "8787"]
