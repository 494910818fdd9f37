# One image for the operator, the Dukes and the agents beside data servers: three static programs and
# nothing else.
#
#   docker build --tag docker.io/pipelineoperator/pipelineoperator:0.1.0 .
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# A target that is named keeps the static flag away from build scripts and macros.
RUN target="$(rustc --version --verbose | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked \
        --target "$target" --package pipeline-operator --package duke --package duke-agent --bins \
    && mkdir /image \
    && cd "target/$target/release" \
    && cp pipeline-operator duke duke-agent /image/

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
CMD ["/pipeline-operator", "run"]
