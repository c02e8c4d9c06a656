"""How answers leave: whole or streamed, as scripted also late, slowly, in odd pieces, with an error or an end in between."""
import json
import select
import socket
import time
import zlib


class Cancelled(Exception):
    """The client has closed its connection."""


class Out:
    """One answer on one connection."""

    def __init__(self, handler, script):
        self.handler = handler
        self.script = script

    def rest(self, seconds):
        """Waits, and notices a client that goes away meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            connection = self.handler.connection
            if not select.select([connection], [], [], left)[0]:
                return
            try:
                gone = not connection.recv(1, socket.MSG_PEEK)
            except OSError as error:
                raise Cancelled from error
            if gone:
                raise Cancelled
            # The client has sent its next request before this one was answered.
            time.sleep(max(0, end - time.monotonic()))

    def write(self, data):
        """Sends, or says that the client is gone."""
        try:
            self.handler.wfile.write(data)
            self.handler.wfile.flush()
        except OSError as error:
            raise Cancelled from error

    def whole(self, status, value, headers=(), cut=False):
        """A JSON answer with its length; `cut`: half of it."""
        body = json.dumps(value).encode()
        packed = self.packs()
        if packed:
            packer = zlib.compressobj(wbits=31)
            body = packer.compress(body) + packer.flush()
        self.head(status, "application/json", {"content-length": str(len(body)), **dict(headers)}, packed)
        if self.handler.command != "HEAD":
            self.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.handler.close_connection = True

    def stream(self, kind, frames, headers, said, broken):
        """A chunked stream. Gives how it ended: "whole", "error" or "broken off"."""
        packed = self.packs()
        packer = zlib.compressobj(wbits=31) if packed else None
        self.rest(said.get("wait", 0))
        self.head(200, kind, {"transfer-encoding": "chunked", "cache-control": "no-cache", **headers}, packed)
        for number, frame in enumerate(frames):
            if said.get("break") == number:
                self.handler.close_connection = True
                return "broken off"
            if "error" in said and said.get("after", 0) == number:
                frame = broken(said["error"])
            if number:
                self.rest(said.get("pause", 0))
            self.chunk(packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH) if packer else frame)
            if "error" in said and said.get("after", 0) == number:
                break
        if packer:
            self.chunk(packer.flush())
        self.write(b"0\r\n\r\n")
        return "error" if "error" in said else "whole"

    def chunk(self, data):
        """One write of a chunked body, or several where the script chops."""
        size = self.script.said.get("chop") or len(data)
        for at in range(0, len(data), max(1, size)):
            piece = data[at : at + size]
            self.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def head(self, status, kind, headers, packed):
        """The status line and the headers."""
        self.handler.send_response(status)
        self.handler.send_header("content-type", kind)
        if packed:
            self.handler.send_header("content-encoding", "gzip")
        for name, value in headers.items():
            self.handler.send_header(name, value)
        try:
            self.handler.end_headers()
        except OSError as error:
            raise Cancelled from error

    def packs(self):
        """Whether this answer is compressed."""
        return self.script.said.get("gzip") and "gzip" in (self.handler.headers.get("accept-encoding") or "")
