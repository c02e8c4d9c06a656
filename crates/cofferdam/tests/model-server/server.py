"""The server: a thread a connection, a protocol by the request's path."""
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import bedrock
import body
import chat
import gemini
import messages
import responses
from out import Cancelled, Out

PROTOCOLS = [messages, responses, chat, gemini, bedrock]
SAYS = {401: "this is not the key", 429: "Rate limit reached, try again later", 529: "Overloaded"}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "scripted"

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.answer(self.post)

    def do_GET(self):
        self.answer(self.get)

    do_HEAD = do_GET

    def answer(self, how):
        """Answers, and records how that ended."""
        entry = self.server.record.begin(self.command, self.path, self.headers)
        try:
            entry["end"] = how(entry, Out(self, self.server.script)) or "whole"
        except Cancelled:
            entry["end"] = "cancelled"
            self.close_connection = True
        except body.Unreadable as error:
            entry["end"] = str(error)
            self.close_connection = True
            Out(self, self.server.script).whole(400, {"error": {"message": str(error)}})
        finally:
            self.server.record.end(entry)

    def get(self, entry, out):
        """Lists of models, which each protocol tells in its own words; all else is not here."""
        path = urlsplit(self.path).path
        entry["key"] = self.key()
        names = self.server.script.said.get("models", ["scripted"])
        if path in ("/v1/models", "/models", "/v1beta/models"):
            if entry["key"] != "right":
                entry["status"] = 401
                return out.whole(401, messages.failure(401, SAYS[401]))
            entry["status"] = 200
            listing = gemini if "v1beta" in path else messages if self.headers.get("anthropic-version") else responses
            return out.whole(200, listing.models(names))
        # Codex asks for a WebSocket first, and for this status it goes on without one at once.
        entry["status"] = 426 if self.headers.get("upgrade") else 404
        return out.whole(entry["status"], messages.failure(entry["status"], "not here"))

    def post(self, entry, out):
        """A question to the model."""
        value = body.read(self)
        path = urlsplit(self.path).path
        protocol, asked = next(((one, asked) for one in PROTOCOLS if (asked := one.read(path, value))), (messages, None))
        entry["key"] = self.key()
        if not asked:
            entry["status"] = 404
            return out.whole(404, messages.failure(404, "not here"))
        entry |= {name: getattr(asked, name) for name in ("protocol", "wants", "model", "stream", "tools", "prompts", "results")}
        if entry["key"] != "right":
            entry["status"] = 401
            return out.whole(401, protocol.failure(401, SAYS[401]))
        if asked.wants == "count":
            entry["status"] = 200
            return out.whole(200, protocol.count(asked))
        turn = self.server.script.answer(asked)
        entry |= {"turn": turn.index, "calls": [{"id": call.id, "name": call.name} for call in turn.calls], "said": turn.text}
        entry["usage"] = vars(turn.usage)
        entry["status"] = turn.said.get("status", 200)
        headers = protocol.headers(turn)
        if entry["status"] != 200:
            if "retry_after" in turn.said:
                headers["retry-after"] = str(turn.said["retry_after"])
            return out.whole(entry["status"], protocol.failure(entry["status"], turn.said.get("message") or SAYS.get(entry["status"], "Internal server error")), headers)
        if asked.stream:
            return out.stream(protocol.TYPE, protocol.stream(asked, turn), headers, turn.said, protocol.broken)
        out.rest(turn.said.get("wait", 0))
        cut = "break" in turn.said or "error" in turn.said
        out.whole(200, protocol.whole(asked, turn), headers, cut)
        return "broken off" if cut else "whole"

    def key(self):
        """Whether the request carries the key: "right", "wrong" or "none"."""
        wanted = self.server.key
        given = [self.headers.get("x-api-key"), self.headers.get("x-goog-api-key"), self.headers.get("api-key"),
                 (self.headers.get("authorization") or "").removeprefix("Bearer ") or None,
                 *parse_qs(urlsplit(self.path).query).get("key", [])]
        given = [one for one in given if one]
        if not wanted or wanted in given:
            return "right"
        return "wrong" if given else "none"


class Server(ThreadingHTTPServer):
    """Listens on loopback alone."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, script, record):
        super().__init__(("127.0.0.1", port), Handler)
        self.script = script
        self.record = record
        self.key = os.environ.get("MODEL_KEY")

    def handle_error(self, request, client_address):
        """A connection that a client resets is no fault here; anything else is told."""
        import sys
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
