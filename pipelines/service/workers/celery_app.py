"""Celery as the host and its workers use it: queues in RabbitMQ, one message per run."""

import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from dagster_celery.make_app import make_app
from kombu import Exchange, Queue

from pipelines.service.workers.identity import Identity
from pipelines.settings import Settings

#: A broker that sends nothing for twice as long has gone: connections are made anew.
HEARTBEAT_SECONDS = 10
CONNECT_SECONDS = 4
#: A queue of earlier code, which nobody reads any more, is removed by RabbitMQ after this time.
QUEUE_EXPIRES_SECONDS = 7 * 86_400
MAX_PRIORITY = 10


def configuration() -> dict[str, Any]:
    """Celery's settings, of the host and of workers.

    A message is acknowledged when its run has ended, and the database decides whether a message that is delivered twice
    starts anything (docs/decisions/0036). Workers accept JSON, and no commands through the broker.
    """
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_acks_late": True,
        "task_ignore_result": True,
        # Of a worker's Redis, which must not delay a run.
        "redis_socket_connect_timeout": 2,
        "redis_socket_timeout": 2,
        "redis_retry_on_timeout": False,
        "result_backend_transport_options": {"retry_policy": {"max_retries": 0}},
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "broker_heartbeat": HEARTBEAT_SECONDS,
        "broker_connection_timeout": CONNECT_SECONDS,
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        # RabbitMQ confirms each message: one that was not stored is known not to be.
        "broker_transport_options": {"confirm_publish": True, "read_timeout": 2 * HEARTBEAT_SECONDS},
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.5},
    }


def broker_tls(settings: Settings) -> dict[str, Any] | None:
    """How the broker's certificate is verified; None without TLS."""
    url = urlsplit(broker_url(settings))
    if url.scheme != "amqps":
        return None
    authority = settings.workers.broker_ca
    # The name is verified only where it is given.
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": url.hostname,
        **({} if authority is None else {"ca_certs": str(authority)}),
    }


def broker_url(settings: Settings) -> str:
    """The broker's address, with its password. Call with workers configured."""
    assert settings.workers.broker_url is not None
    return settings.workers.broker_url.get_secret_value()


def app_arguments(settings: Settings) -> dict[str, Any]:
    """Arguments of dagster-celery's app. Call with workers configured."""
    tls = broker_tls(settings)
    config = configuration() if tls is None else {**configuration(), "broker_use_ssl": tls}
    return {"broker": broker_url(settings), "config_source": config}


def queue_name(settings: Settings, queue: str, identity: Identity) -> str:
    """Name of a queue in RabbitMQ: it has the digest of the code, so workers with other code do not read it."""
    return f"{settings.workers.queue_prefix}.{queue}.{identity.code[:12]}"


def declare_queues(app: Any, settings: Settings, queues: Sequence[str], identity: Identity) -> None:
    """Let an app use these queues only."""
    exchange = Exchange(settings.workers.queue_prefix, type="topic")
    names = [queue_name(settings, queue, identity) for queue in queues]
    arguments = {"x-max-priority": MAX_PRIORITY, "x-expires": QUEUE_EXPIRES_SECONDS * 1_000}
    app.conf.task_queues = [Queue(name, exchange, routing_key=f"{name}.#", queue_arguments=arguments) for name in names]
    app.conf.task_create_missing_queues = False
    app.conf.task_routes = {}  # dagster-celery's name a queue of its own


def worker_app(settings: Settings, queues: Sequence[str], identity: Identity) -> Any:
    """The app of a worker."""
    results = settings.workers.result_url
    app = make_app(app_arguments(settings) | {"backend": results.get_secret_value() if results else None})
    declare_queues(app, settings, queues, identity)
    return app
