"""A request's body, whole."""
import gzip
import json


class Unreadable(Exception):
    """A body that is not read here."""


def read(handler):
    """The JSON value that the request carries; an empty one where it carries nothing."""
    if "chunked" in (handler.headers.get("transfer-encoding") or "").lower():
        body = b"".join(chunks(handler.rfile))
    else:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
    encoding = (handler.headers.get("content-encoding") or "identity").lower()
    if encoding == "gzip":
        body = gzip.decompress(body)
    elif encoding != "identity":
        raise Unreadable(f"content-encoding {encoding} is not read here")
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise Unreadable(f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Unreadable("no JSON object")
    return value


def chunks(file):
    """Pieces of a chunked body (RFC 9112, 7.1)."""
    while size := int(file.readline().split(b";")[0], 16):
        yield file.read(size)
        file.readline()
    while file.readline().strip():
        pass
