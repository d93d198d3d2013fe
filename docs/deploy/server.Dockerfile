# The town's server: Valkey with the settings that a town needs. The password comes from the environment.
#   docker build -f docs/deploy/server.Dockerfile -t tinytown-server docs/deploy
FROM valkey/valkey:8

COPY server.conf /etc/valkey/town.conf
USER valkey
WORKDIR /data
EXPOSE 6379
# By standard input, since others see the words of a process.
CMD ["sh", "-c", "{ cat /etc/valkey/town.conf; printf 'requirepass %s\\n' \"$TINYTOWN_REDIS_PASSWORD\"; } | exec valkey-server -"]
