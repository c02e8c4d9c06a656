"""Anthropic Messages: https://docs.anthropic.com/en/api/messages-streaming and /errors."""
import json
import time

import sse
from asked import Asked, texts
from script import pieces

NAME = "messages"
TYPE = sse.TYPE
STOPS = {"end": "end_turn", "tools": "tool_use", "length": "max_tokens", "refusal": "refusal"}
KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error",
         500: "api_error", 529: "overloaded_error"}


def read(path, body):
    """What a request to this path asks, where it is one of this protocol."""
    if path not in ("/v1/messages", "/v1/messages/count_tokens"):
        return None
    asked = Asked(NAME, "count" if path.endswith("count_tokens") else "answer", body.get("model", ""), bool(body.get("stream")))
    fill(asked, body)
    return asked


def fill(asked, body):
    """Tools, prompts and results of a body, which Bedrock carries too."""
    asked.tools = [tool.get("name") for tool in body.get("tools", [])]
    asked.size = len(json.dumps(body))
    asked.schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    for message in body.get("messages", []):
        content = message.get("content")
        if message.get("role") == "user":
            asked.prompts += texts(content, "text")
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "tool_result":
                asked.results.append("\n".join(texts(part.get("content"))))


def blocks(turn):
    """The answer's content."""
    found = []
    if turn.thinking:
        found.append({"type": "thinking", "thinking": turn.thinking, "signature": "c2NyaXB0ZWQ="})
    if turn.text:
        found.append({"type": "text", "text": turn.text})
    for call in turn.calls:
        found.append({"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": call.arguments})
    return found


def usage(turn):
    """The prompt's tokens are told in three parts that do not overlap."""
    used = turn.usage
    return {"input_tokens": used.input, "cache_creation_input_tokens": used.write, "cache_read_input_tokens": used.read,
            "cache_creation": {"ephemeral_5m_input_tokens": used.write, "ephemeral_1h_input_tokens": 0},
            "output_tokens": used.output, "service_tier": "standard"}


def whole(asked, turn):
    """The answer in one piece."""
    return {"id": f"msg_{turn.id}", "type": "message", "role": "assistant", "model": asked.model, "content": blocks(turn),
            "stop_reason": STOPS[turn.stop], "stop_sequence": None, "usage": usage(turn)}


def events(asked, turn):
    """The answer as a stream of JSON values with a type each."""
    start = {**whole(asked, turn), "content": [], "stop_reason": None}
    start["usage"] = {**start["usage"], "output_tokens": 1}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(blocks(turn)):
        kind = block["type"]
        if kind == "tool_use":
            opened, deltas = {**block, "input": {}}, [("input_json_delta", "partial_json", "")]
            deltas += [("input_json_delta", "partial_json", piece) for piece in pieces(json.dumps(block["input"]))]
        elif kind == "thinking":
            opened = {**block, "thinking": "", "signature": ""}
            deltas = [("thinking_delta", "thinking", piece) for piece in pieces(block["thinking"])]
            deltas.append(("signature_delta", "signature", block["signature"]))
        else:
            opened, deltas = {**block, "text": ""}, [("text_delta", "text", piece) for piece in pieces(block["text"])]
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        if index == 0:
            yield {"type": "ping"}
        for delta, field, piece in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": {"type": delta, field: piece}}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": STOPS[turn.stop], "stop_sequence": None}, "usage": usage(turn)}
    yield {"type": "message_stop"}


def stream(asked, turn):
    """The answer as it leaves."""
    for event in events(asked, turn):
        yield sse.event(event["type"], event)


def failure(status, message):
    """What is answered in place of an answer."""
    return {"type": "error", "error": {"type": KINDS.get(status, "api_error"), "message": message}, "request_id": None}


def broken(kind):
    """An error in mid-stream."""
    return sse.event("error", {"type": "error", "error": {"type": kind, "message": "Overloaded"}})


def count(asked):
    """How many tokens the request's prompt has."""
    return {"input_tokens": asked.size // 4 + 1}


def models(names):
    """The list of models."""
    found = [{"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"} for name in names]
    return {"data": found, "has_more": False, "first_id": (names or [None])[0], "last_id": (names or [None])[-1]}


def headers(turn):
    """What comes along with each answer."""
    reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    return {"request-id": f"req_{turn.id}", "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49", "anthropic-ratelimit-requests-reset": reset}
