"""Alerts: raised into an outbox in Redis, delivered from there until they are taken."""

from jobcast.shared.alerts.alert import Alert
from jobcast.shared.alerts.outbox import Outbox
from jobcast.shared.alerts.sinks import LogSink, NotDelivered, Sink, WebhookSink, is_genuine, sink_of

__all__ = ["Alert", "LogSink", "NotDelivered", "Outbox", "Sink", "WebhookSink", "is_genuine", "sink_of"]
