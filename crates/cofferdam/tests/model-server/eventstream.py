"""Amazon's event stream encoding: https://smithy.io/2.0/aws/amazon-eventstream.html."""
import json
import struct
import zlib

TYPE = "application/vnd.amazon.eventstream"


def frame(kind, name, body):
    """One message: its length, that of its headers, a checksum of these two, headers, body, and a checksum of all."""
    headers = b"".join(header(*one) for one in (
        (f":{kind}-type", name), (":content-type", "application/json"), (":message-type", kind)))
    payload = json.dumps(body).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def header(name, value):
    """A header whose value is a string (type 7)."""
    return struct.pack(">B", len(name)) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
