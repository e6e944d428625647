# Builds Kymo and puts the one program into a small image. Data lies in the volume /data. The target `store` is
# the S3 store of docker-compose.yml.
#
#   docker build -t kymo . && docker run -p 127.0.0.1:8080:8080 -v kymo-data:/data kymo
#
# Inside the container it must listen beyond loopback, so --allow-remote is set, and callers are not asked
# who they are: publish the port to loopback or to a network whose every member may read and delete.

FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ libssl-dev make pkg-config zlib1g-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin kymo

FROM golang:1-bookworm AS store-build
RUN CGO_ENABLED=0 go install -ldflags '-s -w' github.com/versity/versitygw/cmd/versitygw@v1.8.0

FROM debian:bookworm-slim AS store
RUN useradd --system --uid 10001 --user-group --no-create-home store \
  && install -d -o store -g store /data /data/kymo
COPY --from=store-build /go/bin/versitygw /usr/local/bin/versitygw
USER store
VOLUME /data
CMD ["versitygw", "--port", ":7070", "posix", "/data"]

FROM debian:bookworm-slim AS kymo
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 libstdc++6 zlib1g \
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
