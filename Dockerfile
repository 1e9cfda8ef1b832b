# The demo site, built from source: docker build --tag sessions-demo .
FROM rust:1.88-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package demo --features redis \
    && cp target/release/demo /demo

FROM debian:bookworm-slim
# whom a `rediss:` connection trusts
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
# an unprivileged user without a shell or a home
RUN useradd --system --no-create-home --shell /usr/sbin/nologin --uid 10001 demo
COPY --from=build /demo /usr/local/bin/demo
USER 10001
ENV LISTEN=0.0.0.0:3000
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=2s --timeout=3s --start-period=5s CMD ["/usr/local/bin/demo", "--healthcheck"]
ENTRYPOINT ["/usr/local/bin/demo"]
