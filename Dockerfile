# penstockd in a container: the supervisor as root, the server as user 65530, jobs as users of
# their clients' own (job_uids).
#
#   docker build -t penstock .
#   docker run --name penstock -p 127.0.0.1:8443:8443 \
#     --cgroupns=host --mount type=bind,src=/sys/fs/cgroup,dst=/sys/fs/cgroup \
#     --mount type=volume,src=penstock,dst=/var/lib/penstock \
#     --mount type=bind,src="$PWD/server-certs",dst=/etc/penstock/certs,readonly \
#     penstock
#
# - The cgroup mount must be writable, and the host's: Docker's own is read-only, and without it
#   no limit can be enforced, so every start is refused. penstock makes and removes the group
#   /penstock there and touches nothing else. --privileged is not needed.
# - State and jobs' working directories lie on the volume: the disk bandwidth of a job is limited
#   on the device behind its working directory, and the image's overlay has none.
# - server-certs/: copies of ca.crt, server.crt and server.key and nothing else, above all not
#   ca.key, with which the container could make itself any client. How they are made is in
#   certs/README.md; server.key must be 0600 and owned by 65530 (chown 65530:65530 server.key).
#   Mount a policy over /etc/penstock/policy.toml in the same way; the one inside is the
#   sample. A job sees the container's files, not the host's.
# - docker stop sends SIGTERM: calls drain, jobs are ended, groups are removed. Give it time, -t 30.
#
# What was checked, and how: there was no Docker engine, so this file as a whole was never
# built or run. The commands of the RUN steps, but for apt-get, were typed by hand in their
# order on Debian 12 with its Python 3.11, in other directories; penstockd was then
# started from what they made, with docker/penstockd.toml (other paths and port), and a
# client ran a job there within its limits. tests/test_packaging.py keeps that file valid and
# the requirements hashed. Not checked: the base image, the mounts and options of docker run above,
# and whether limits hold inside a container.

FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/penstock
COPY requirements.txt /source/
# Wheels alone: building from source would fetch what no hash holds.
RUN /opt/penstock/bin/pip install --no-cache-dir --only-binary :all: --require-hashes \
        -r /source/requirements.txt
COPY pyproject.toml README.md LICENSE /source/
COPY man /source/man
COPY src /source/src
RUN /opt/penstock/bin/pip install --no-cache-dir --no-deps --no-build-isolation /source \
    && /opt/penstock/bin/pip uninstall -y setuptools pip

FROM debian:12-slim
# The same Python as in the build: a virtual environment only points to it.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/penstock /opt/penstock
COPY docker/penstockd.toml /etc/penstock/penstockd.toml
COPY src/penstock/policies/sample-root.toml /etc/penstock/policy.toml
# A new volume begins as a copy of this, with owners and modes.
RUN install -d -m 0755 /var/lib/penstock \
    && install -d -m 0700 -o 65530 -g 65530 /var/lib/penstock/state \
    && install -d -m 0700 /var/lib/penstock/state-root \
    && install -d -m 0711 /var/lib/penstock/work
VOLUME /var/lib/penstock
ENV PATH=/opt/penstock/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
EXPOSE 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["penstockd", "--config", "/etc/penstock/penstockd.toml"]
