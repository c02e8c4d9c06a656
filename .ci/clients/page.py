"""A page whose words a script makes, which is a second request; /seen says whether a browser made it."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"""<!doctype html><title>page</title><p id="words">as it was sent</p>
<script src="/words"></script>"""
WORDS = b"""document.getElementById("words").textContent = "made by a script";"""
scripted = False


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        global scripted
        if self.path == "/words":
            scripted = True
        said = {"/": PAGE, "/words": WORDS, "/seen": b"the browser ran the script" if scripted else b"no"}
        body = said.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/javascript" if body == WORDS else "text/html")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
