# The lagvalve command in a small image:  docker build -t lagvalve .
# Needs BuildKit (the default of Docker 23 and later) for the cache mounts.

FROM rust:1.95.0-bookworm AS build
# This image has what the vendored librdkafka and OpenSSL are built with: a C and a C++ compiler, make and perl.
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin lagvalve \
    && cp target/release/lagvalve /usr/local/bin/lagvalve \
    && mkdir /state

# The same Debian release, so that glibc is not older than the one linked against.
FROM debian:12.13-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/lagvalve /usr/local/bin/lagvalve
# [state] dir: mount a volume here to keep overrides, last capacities and the journal over restarts.
COPY --from=build --chown=65532:65532 /state /var/lib/lagvalve
USER 65532:65532
WORKDIR /var/lib/lagvalve
EXPOSE 5248
ENTRYPOINT ["lagvalve"]
CMD ["--help"]
