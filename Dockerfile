# Builds Kymo and puts the one program into a small image. Data lies in the volume /data.
#
#   docker build -t kymo . && docker run -p 127.0.0.1:8080:8080 -v kymo-data:/data kymo
#
# Inside the container it must listen beyond loopback, so --allow-remote is set, and callers are not asked
# who they are: publish the port to loopback or to a network whose every member may read and delete.

FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin kymo

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
  && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --no-create-home kymo && install -d -o kymo -g kymo /data
COPY --from=build /source/target/release/kymo /usr/local/bin/kymo
COPY LICENSE /usr/share/doc/kymo/LICENSE
USER kymo
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/check HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["kymo"]
CMD ["serve", "--listen", "0.0.0.0:8080", "--allow-remote", "--data", "/data"]
