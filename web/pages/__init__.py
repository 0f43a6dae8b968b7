"""The pages: one module each, which reads what the page shows; the words are of `health`."""

from flask import Blueprint, Flask

from web.pages import act, asset, download, freshness, health, live, now, quota
from web.site import site

ROUTES = (
    ("/", now.show),
    ("/freshness", freshness.show),
    ("/asset", asset.show),
    ("/quota", quota.show),
    ("/health", health.show),
    ("/live", live.show),
)


def mount(app: Flask) -> None:
    """Serve the pages, each behind the door."""
    pages = Blueprint("pages", __name__)
    for address, view in ROUTES:
        pages.add_url_rule(address, view.__module__.rpartition(".")[2], view)
    pages.add_url_rule("/bars.csv", "bars", download.show)
    pages.add_url_rule("/actions/<name>", "act", act.show, methods=["POST"])
    pages.before_request(lambda: site().door.refusal())
    app.register_blueprint(pages)
