"""What the service says of itself: log lines, and figures for Prometheus."""

from serving.telemetry.logs import LOGGER_NAME, configure_logging, log

__all__ = ["LOGGER_NAME", "configure_logging", "log"]
