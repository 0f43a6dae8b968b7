"""POST /actions/<right>: change something, tell what was done, and go back to the page."""

import re

from flask import Response, abort, g, jsonify, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from web.access import Right
from web.action_log import address_of, record
from web.actions import ACTIONS, Refused
from web.database import Away
from web.site import site

MOST_BYTES = 16 * 1024
_BACK = re.compile(r"(?:\./|[a-z]+)(?:\?[^\s\\]{0,500})?", re.ASCII)
"""The pages, relative to their folder, and nothing else: no address may lead to another site."""


def show(name: str) -> AnyResponse:
    """Answer with 303 to the page that asked, or with JSON where that is asked for."""
    request.max_content_length = MOST_BYTES
    if name not in list(Right) or Right(name) not in ACTIONS:
        abort(404, "There is no such action.")
    right, here, visitor = Right(name), site(), g.visitor
    address = address_of(request)
    context = here.observer.context
    if right not in visitor.rights:
        why = f"{visitor.name} may look and not do this: it needs the login admin, and {name} in "
        record(context, visitor.name, address, name, "refused: no right", done=False)
        return Response(f"{why}WEB_ACTIONS.\n", 403, mimetype="text/plain")
    try:
        told, code = ACTIONS[right](here, request.form), 200
    except (Refused, Away) as error:
        told, code = str(error), 409
    record(context, visitor.name, address, name, told, done=code == 200)
    here.board.forget()
    here.pending.forget()
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json":
        answer = jsonify(told=told, done=code == 200)
        answer.status_code = code
        return answer
    back = request.form.get("back", "")
    back = back if _BACK.fullmatch(back) else "./"
    joint = "&" if "?" in back and not back.endswith("?") else "" if "?" in back else "?"
    return redirect(f"../{back}{joint}told={here.tell(told)}", 303)
