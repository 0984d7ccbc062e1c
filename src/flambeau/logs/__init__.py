"""TorchServe's log files, written by one background thread so that no request waits for a disk."""

from flambeau.logs.access import AccessLog
from flambeau.logs.files import LogFiles
from flambeau.logs.formats import MetricsLog, ServerLogHandler, WorkerLog
from flambeau.logs.line_log import LineLog
from flambeau.logs.writer import LogWriter

__all__ = ["AccessLog", "LineLog", "LogFiles", "LogWriter", "MetricsLog", "ServerLogHandler", "WorkerLog"]
