# One image for the gateway and the worker; what it runs is its command. Built in two steps, so that the
# last one holds neither pip's caches nor anything that was only needed to build.

FROM python:3.12-slim AS build
WORKDIR /source
RUN python -m venv /venv
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY jobcast jobcast
COPY shared shared
COPY gateway gateway
COPY worker worker
COPY cli cli
RUN /venv/bin/pip install --no-cache-dir --constraint requirements.lock .

FROM python:3.12-slim
# A fixed number, so that a volume's owner stays the same from one build to the next.
RUN groupadd --gid 10001 jobcast \
    && useradd --uid 10001 --gid 10001 --create-home --home-dir /data --shell /usr/sbin/nologin jobcast
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
# Inside a container 127.0.0.1 is reachable by nobody else; who may reach it is decided where it is published.
ENV JOBCAST_HOST=0.0.0.0 JOBCAST_PORT=8080
EXPOSE 8080
ENTRYPOINT ["jobcast"]
CMD ["gateway"]
