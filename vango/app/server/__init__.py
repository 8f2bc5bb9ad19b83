"""The server under the app: Hypercorn's protocols over sockets, reads and writes of our own.

Hypercorn's trio worker writes inside shields, starts a task for every idle timer and has no bounds on what a
client may do to it. So sockets, deadlines and HTTP/1.1 exchanges live here; h11 parses requests, and Hypercorn's
WebSocket and HTTP/2 streams are subclassed where they need a guard.
"""

from vango.app.server.drain import Drain
from vango.app.server.limits import Limits, Refuse
from vango.app.server.serve import serve_app

__all__ = ["Drain", "Limits", "Refuse", "serve_app"]
