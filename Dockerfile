# A Sidestep node or scheduler, computing on CPUs. scripts/dockerfile-check carries these steps out without Docker.
#
#   docker build -t sidestep .
#   docker run -v ./node-1:/etc/sidestep:ro -v data:/var/lib/sidestep -p 7001:7001 sidestep
#
# docs/deploy.md says what belongs in these two folders; deploy/compose.yaml is a whole swarm.

FROM debian:12 AS build
WORKDIR /src
# What changes seldom comes first: packages and LibTorch, one layer.
COPY scripts/common.sh scripts/setup scripts/
RUN --mount=type=cache,target=/root/.cache scripts/setup --no-build
COPY . .
RUN --mount=type=cache,target=/root/.cache scripts/setup && scripts/bundle --with-libtorch --out /opt/sidestep

FROM debian:12-slim
# The base system's own libraries are all that the bundle needs.
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
ARG UID=10001
RUN useradd --uid "$UID" --user-group --no-create-home --home-dir /var/lib/sidestep --shell /usr/sbin/nologin sidestep \
    && install -d -o sidestep -g sidestep -m 0750 /etc/sidestep /var/lib/sidestep
COPY --from=build /opt/sidestep /opt/sidestep
RUN ln -s /opt/sidestep/bin/sidestep /usr/local/bin/sidestep
USER sidestep
WORKDIR /var/lib/sidestep
# Keys, logs and the scheduler's database.
VOLUME /var/lib/sidestep
# 7000: a scheduler; 7001: a node.
EXPOSE 7000 7001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["sidestep", "health", "/var/lib/sidestep"]
ENTRYPOINT ["sidestep"]
CMD ["daemon", "--config", "/etc/sidestep/node.json"]
