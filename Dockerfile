FROM python:3.11-slim

# A requirement, not a version: a wheel's path or address works too. On x86 Linux pip's default
# torch carries CUDA (several GB); the service needs the CPU build only. To get that one, pass it
# here, or the index that has it as PIP_EXTRA_INDEX_URL.
ARG TORCH_REQUIREMENT=torch==2.13.0
ARG PIP_EXTRA_INDEX_URL
# What POST /evaluate needs: plots, measures and a judge, 295 MB. Empty: left out, and it answers that.
ARG EXTRAS=evaluation

ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    OMP_NUM_THREADS=1 \
    MEMORY_SERVICE_DATA_DIR=/data \
    HF_HOME=/data/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib

RUN useradd --uid 10001 --create-home memory && install --directory --owner memory /data

WORKDIR /app
# Dependencies change seldom and weigh the most: a layer of their own, before the code.
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt "$TORCH_REQUIREMENT"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY encoders ./encoders
COPY generator ./generator
COPY memory_service ./memory_service
RUN pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"

# Out of /app, so that the installed packages run, and nothing else.
WORKDIR /data
USER memory
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('MEMORY_SERVICE_PORT', '8000') + '/readyz', timeout=4)"]
# Asks for API keys, and does not start before there is one, unless MEMORY_SERVICE_AUTH=open says that
# something else decides who reaches the port: see docs/guide.md, Security.
CMD ["memory-service", "serve", "--host", "0.0.0.0"]
