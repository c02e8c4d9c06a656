"""Server-sent events, as the HTML standard frames them."""
import json

TYPE = "text/event-stream; charset=utf-8"


def event(name, data):
    """One event with a name."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def data(value, end="\n\n"):
    """One event without a name; a string is sent as it is."""
    return f"data: {value if isinstance(value, str) else json.dumps(value)}{end}".encode()
