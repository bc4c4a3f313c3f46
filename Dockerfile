# The image of both Deployments: one static binary and nothing else.
#
#   docker build -t REGISTRY/scalegate .
#
# Rust's own Alpine image builds for musl, which links statically; musl-dev has what ring's C code is compiled with.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# Cargo wants the targets that Cargo.toml names to be there; only the binary is built.
COPY benches ./benches
COPY tests ./tests
RUN cargo build --locked --profile dist --bin scalegate \
 && mkdir /out && cp target/dist/scalegate /out/scalegate

# No shell, no package manager, no certificate authorities: in a cluster the API server is trusted by the authority that the
# service account brings, and nobody else is called.
FROM scratch
COPY --from=build /out/scalegate /scalegate
USER 65532:65532
EXPOSE 9443 8080
ENTRYPOINT ["/scalegate"]
