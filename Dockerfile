# The image of controller and worker: one static binary, the public certificate authorities, and nothing else.
# `.ci/image` makes the same without a container engine, and checks it; `make image` does what can be done.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    .ci/image root /image

FROM scratch
LABEL org.opencontainers.image.title="everstep" \
      org.opencontainers.image.description="Durable workflows as Kubernetes custom resources, on plain PostgreSQL" \
      org.opencontainers.image.source="https://github.com/everstep/everstep" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/everstep"]
