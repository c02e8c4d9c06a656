"""OpenAI Chat Completions, which most compatible servers speak: https://platform.openai.com/docs/api-reference/chat."""
import json
import time

import responses
import sse
from asked import Asked, texts
from script import pieces

NAME = "chat"
TYPE = sse.TYPE
STOPS = {"end": "stop", "tools": "tool_calls", "length": "length", "refusal": "content_filter"}

failure, models, headers = responses.failure, responses.models, responses.headers


def read(path, body):
    """What a request to this path asks, where it is one of this protocol."""
    if path not in ("/v1/chat/completions", "/chat/completions"):
        return None
    asked = Asked(NAME, "answer", body.get("model", ""), bool(body.get("stream")), size=len(json.dumps(body)))
    asked.counted = not asked.stream or bool((body.get("stream_options") or {}).get("include_usage"))
    asked.tools = [tool.get("function", {}).get("name") for tool in body.get("tools") or []]
    asked.schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    for message in body.get("messages", []):
        if message.get("role") == "user":
            asked.prompts += texts(message.get("content"), "text")
        if message.get("role") == "tool":
            asked.results.append("\n".join(texts(message.get("content"))))
    return asked


def usage(turn):
    """What came from the cache and what was thought are parts of the totals."""
    used = turn.usage
    return {"prompt_tokens": used.prompt, "completion_tokens": used.output, "total_tokens": used.prompt + used.output,
            "prompt_tokens_details": {"cached_tokens": used.read, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": used.thinking, "audio_tokens": 0}}


def calls(turn):
    """The calls of tools, whole."""
    return [{"id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": call.json}}
            for call in turn.calls]


def whole(asked, turn):
    """The answer in one piece."""
    message = {"role": "assistant", "content": turn.text or None, "refusal": None}
    if turn.thinking:
        message["reasoning_content"] = turn.thinking
    if turn.calls:
        message["tool_calls"] = calls(turn)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": STOPS[turn.stop]}
    return {"id": f"chatcmpl-{turn.id}", "object": "chat.completion", "created": int(time.time()), "model": asked.model,
            "choices": [choice], "usage": usage(turn), "system_fingerprint": "fp_scripted"}


def events(asked, turn):
    """The answer as a stream of chunks."""
    head = {"id": f"chatcmpl-{turn.id}", "object": "chat.completion.chunk", "created": int(time.time()), "model": asked.model,
            "system_fingerprint": "fp_scripted"}

    def chunk(delta, finish=None):
        more = {"usage": None} if asked.counted else {}
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], **more}

    yield chunk({"role": "assistant", "content": None if turn.calls and not turn.text else "", "refusal": None})
    for piece in pieces(turn.thinking):
        yield chunk({"reasoning_content": piece})
    for piece in pieces(turn.text):
        yield chunk({"content": piece})
    for index, call in enumerate(calls(turn)):
        function = call["function"]
        yield chunk({"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]})
        for piece in pieces(function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, STOPS[turn.stop])
    if asked.counted:
        yield {**head, "choices": [], "usage": usage(turn)}


def stream(asked, turn):
    """The answer as it leaves: chunks without names, and a last word."""
    for event in events(asked, turn):
        yield sse.data(event)
    yield sse.data("[DONE]")


def broken(kind):
    """An error in mid-stream."""
    return sse.data({"error": {"message": "The server is overloaded", "type": "server_error", "param": None, "code": kind}})
