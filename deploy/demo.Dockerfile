# The demo alone, as a caller of a suite that runs elsewhere: it starts none, so give it --addresses. From the repository:
#   docker build -f deploy/demo.Dockerfile -t kith-demo:0.1.0 .
#   docker run --rm --network host kith-demo:0.1.0 run --accounts 60 --addresses 127.0.0.1:7400
# On Kubernetes: deploy/k8s/demo. Build arguments as in deploy/Dockerfile.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
# The image's own compiler: rust-toolchain.toml also asks for what only developers need.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /kith
COPY . .
RUN cargo build --release --locked --bin kith-demo

FROM ${BASE_IMAGE}
COPY --from=build /kith/target/release/kith-demo /usr/local/bin/kith-demo
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/kith-demo"]
CMD ["--help"]
