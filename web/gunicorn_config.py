"""How gunicorn serves web.app:application. GUNICORN_CMD_ARGS and options of its own win."""

import os
import sys
from logging import StreamHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # started from anywhere

from gunicorn.glogging import Logger

from runtime.logs import Lines
from runtime.masking import complaint
from runtime.procfile import process_name
from settings import Settings, SettingsError

try:
    _settings = Settings.load()
except SettingsError as _error:
    print(complaint(_error), file=sys.stderr)
    sys.exit(3)


class PathLogger(Logger):
    """A logger of paths as they were sent, so that no request can write a line of its own.

    A full or broken log, or a pipe that is not read, costs lines and holds no request up.
    """

    def _set_handler(self, log: Any, output: Any, fmt: Any, stream: Any = None) -> None:
        super()._set_handler(log, output, fmt, stream)
        for handler in log.handlers:
            if type(handler) is StreamHandler:
                handler.setStream(Lines(handler.stream))

    def atoms(self, *args: Any) -> dict[str, Any]:
        """Return the values that `access_log_format` may name."""
        found: dict[str, Any] = super().atoms(*args)
        return found | {"U": quote(found["U"] or "")}


# Loopback, unless a host says on which port it will route requests to us. honcho and foreman set
# PORT as well, on machines where nothing stands before it.
_host = "0.0.0.0" if _settings.port and process_name() is None else "127.0.0.1"  # noqa: S104
bind = f"{_host}:{_settings.port or 8000}"
# One process: what it remembers (since when a cause is seen) is then known to every request.
workers = 1
worker_class = "web.serving.PollingWorker"
threads = 24
graceful_timeout = 20  # hosts kill 30 s after SIGTERM
timeout = 60  # a page of the dashboard may wait for Redis
keepalive = 5
# The file that carries the worker's heartbeat to gunicorn must not wait for a disk.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
# Its socket lies in the home directory, where several of these would meet.
control_socket_disable = True
# Only the throttle of logins looks at the client's address, so no proxy needs to be trusted.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
accesslog = "-"
errorlog = "-"
# Without the query, the referer and the user's name, which may be confidential.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s bytes %(M)s ms'
logger_class = PathLogger
proc_name = "assetq-web"


def post_worker_init(worker: Any) -> None:
    """Let open streams end with their process: they would hold its end up until the time limit."""
    worker.wsgi.extensions["assetq-site"].live.alive = lambda: worker.alive
