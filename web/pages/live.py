"""GET /live: the stream of server-sent events."""

from flask import Response, request

from web.site import site

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def show() -> Response:
    """Stream what happens; 204 beyond the number of streams, so that the page polls."""
    live = site().live
    listener = live.join()
    if listener is None:
        return Response(status=204)
    last_seen = request.headers.get("Last-Event-ID") or request.args.get("after")
    sock = request.environ.get("gunicorn.socket")
    stream = live.stream(listener, last_seen, sock)
    return Response(stream, mimetype="text/event-stream", headers=HEADERS)
