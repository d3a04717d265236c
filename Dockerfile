# prunec in a container:
#   docker build -t prunec .                        ONNX Runtime, OpenVINO, TensorRT-RTX's builder
#   docker build -t prunec:gpu --target gpu .       the same and TensorRT, for `docker run --gpus all`
#   docker build --target test .                    runs the tests
#   docker run --rm -v "$PWD":/work prunec model.onnx --budget 60% -o build
# --build-arg TORCH_INDEX=URL, the index of PyTorch's CPU builds, saves the CUDA libraries of PyPI's build.

ARG BASE_IMAGE=python:3.11-slim-bookworm

# Every library of the image, pinned, in a virtual environment: one layer that only a new pin changes.
FROM ${BASE_IMAGE} AS libraries
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY .docker/requirements.txt /opt/
RUN python -m venv /opt/prunec \
    && /opt/prunec/bin/pip install ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} --requirement /opt/requirements.txt

FROM ${BASE_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY toolchain toolchain
COPY passes passes
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir hatchling==1.33.0 \
    && /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

# What all images share. Any user may run it (--user), on a read-only root, without a network.
FROM ${BASE_IMAGE} AS prunec
LABEL org.opencontainers.image.title="prunec" \
      org.opencontainers.image.description="A pruning compiler for CNNs: ONNX in, a timed and verified engine out" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/prunec/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PRUNEC_CACHE=/cache \
    ORT_DISABLE_TELEMETRY=1
RUN useradd --uid 1000 --no-create-home --home-dir /cache prunec \
    && mkdir --mode 1777 /cache /work
COPY --from=libraries /opt/prunec /opt/prunec
COPY --from=wheel /wheel /wheel
# A library that pyproject.toml asks for and no pin gives ends the build here.
RUN pip install --no-deps --no-index /wheel/*.whl && pip check
USER 1000
WORKDIR /work
VOLUME ["/cache", "/tmp"]
HEALTHCHECK --interval=5m --timeout=30s CMD ["prunec", "--version"]
ENTRYPOINT ["prunec"]
CMD ["--help"]

FROM prunec AS test
USER 0
COPY .docker/requirements-test.txt /opt/
RUN pip install --requirement /opt/requirements-test.txt
WORKDIR /source
COPY --chown=1000 . .
RUN chown 1000 /source
ARG TESTS=tests
USER 1000
RUN pytest -p no:cacheprovider ${TESTS}

FROM prunec AS gpu
USER 0
COPY .docker/requirements-gpu.txt /opt/
RUN pip install --requirement /opt/requirements-gpu.txt
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000

FROM prunec AS cpu
