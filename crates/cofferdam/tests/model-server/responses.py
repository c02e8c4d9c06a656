"""OpenAI Responses: https://platform.openai.com/docs/api-reference/responses-streaming."""
import json
import time

import sse
from asked import Asked, texts
from script import pieces

NAME = "responses"
TYPE = sse.TYPE
KINDS = {401: "invalid_api_key", 429: "rate_limit_exceeded", 404: "model_not_found"}


def read(path, body):
    """What a request to this path asks, where it is one of this protocol."""
    if path not in ("/v1/responses", "/responses"):
        return None
    asked = Asked(NAME, "answer", body.get("model", ""), bool(body.get("stream")), size=len(json.dumps(body)))
    asked.tools = names(body.get("tools") or [])
    asked.schema = ((body.get("text") or {}).get("format") or {}).get("schema")
    given = body.get("input")
    if isinstance(given, str):
        asked.prompts.append(given)
    for item in given if isinstance(given, list) else []:
        if item.get("type") == "additional_tools":
            asked.tools += names(item.get("tools", []))
        if item.get("role") == "user":
            asked.prompts += texts(item.get("content"), "input_text")
        if item.get("type") in ("function_call_output", "custom_tool_call_output"):
            output = item.get("output")
            asked.results.append("\n".join(texts(output)) or json.dumps(output))
    return asked


def names(tools):
    """The tools' names; those in namespaces too, by their own."""
    found = []
    for tool in tools:
        found += names(tool["tools"]) if tool.get("type") == "namespace" else [tool.get("name") or tool.get("type")]
    return found


def items(turn):
    """The answer's output, each item finished."""
    found = []
    if turn.thinking:
        found.append({"id": f"rs_{turn.id}", "type": "reasoning", "summary": [{"type": "summary_text", "text": turn.thinking}],
                      "encrypted_content": "c2NyaXB0ZWQ=", "status": "completed"})
    if turn.text:
        part = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
        found.append({"id": f"msg_{turn.id}", "type": "message", "status": "completed", "role": "assistant", "content": [part]})
    for call in turn.calls:
        item = {"id": f"fc_{call.id}", "type": "function_call", "status": "completed", "call_id": f"call_{call.id}",
                "name": call.name, "arguments": call.json}
        if call.free is not None:
            item = {"id": f"ctc_{call.id}", "type": "custom_tool_call", "status": "completed", "call_id": f"call_{call.id}",
                    "name": call.name, "input": call.free}
        found.append(item)
    return found


def usage(turn):
    """What came from the cache and what was thought are parts of the totals."""
    used = turn.usage
    return {"input_tokens": used.prompt, "input_tokens_details": {"cached_tokens": used.read}, "output_tokens": used.output,
            "output_tokens_details": {"reasoning_tokens": used.thinking}, "total_tokens": used.prompt + used.output}


def whole(asked, turn):
    """The answer in one piece."""
    short = {"length": "max_output_tokens", "refusal": "content_filter"}.get(turn.stop)
    return {"id": f"resp_{turn.id}", "object": "response", "created_at": int(time.time()), "error": None, "instructions": None,
            "status": "incomplete" if short else "completed", "incomplete_details": {"reason": short} if short else None,
            "model": asked.model, "output": items(turn), "parallel_tool_calls": True, "previous_response_id": None,
            "store": False, "tool_choice": "auto", "tools": [], "usage": usage(turn), "metadata": {}}


def events(asked, turn):
    """The answer as a stream of JSON values with a type each."""
    last = whole(asked, turn)
    opened = {**last, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": opened}
    yield {"type": "response.in_progress", "response": opened}
    for index, item in enumerate(last["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        kind = item["type"]
        if kind == "message":
            part = item["content"][0]
            inner = {**at, "content_index": 0}
            yield {"type": "response.output_item.added", "output_index": index,
                   "item": {**item, "status": "in_progress", "content": []}}
            yield {"type": "response.content_part.added", **inner, "part": {**part, "text": ""}}
            for piece in pieces(part["text"]):
                yield {"type": "response.output_text.delta", **inner, "delta": piece, "logprobs": []}
            yield {"type": "response.output_text.done", **inner, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **inner, "part": part}
        elif kind == "reasoning":
            part = item["summary"][0]
            inner = {**at, "summary_index": 0}
            yield {"type": "response.output_item.added", "output_index": index,
                   "item": {**item, "status": "in_progress", "summary": []}}
            yield {"type": "response.reasoning_summary_part.added", **inner, "part": {**part, "text": ""}}
            for piece in pieces(part["text"]):
                yield {"type": "response.reasoning_summary_text.delta", **inner, "delta": piece}
            yield {"type": "response.reasoning_summary_text.done", **inner, "text": part["text"]}
            yield {"type": "response.reasoning_summary_part.done", **inner, "part": part}
        else:
            field, name = {"function_call": ("arguments", "response.function_call_arguments"),
                           "custom_tool_call": ("input", "response.custom_tool_call_input")}[kind]
            yield {"type": "response.output_item.added", "output_index": index, "item": {**item, "status": "in_progress", field: ""}}
            for piece in pieces(item[field]):
                yield {"type": f"{name}.delta", **at, "delta": piece}
            yield {"type": f"{name}.done", **at, field: item[field]}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{last['status']}", "response": last}


def stream(asked, turn):
    """The answer as it leaves, numbered."""
    for number, event in enumerate(events(asked, turn)):
        yield sse.event(event["type"], {**event, "sequence_number": number})


def failure(status, message):
    """What is answered in place of an answer."""
    kind = KINDS.get(status, "server_error")
    return {"error": {"message": message, "type": "invalid_request_error" if status < 429 else kind, "param": None, "code": kind}}


def broken(kind):
    """An error in mid-stream."""
    failed = {"id": "resp_0", "object": "response", "status": "failed", "output": [], "usage": None,
              "error": {"code": kind, "message": "The server is overloaded. Please try again."}}
    return sse.event("response.failed", {"type": "response.failed", "sequence_number": 99, "response": failed})


def models(names):
    """The list of models."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "scripted"} for name in names]}


def headers(turn):
    """What comes along with each answer."""
    return {"x-request-id": f"req_{turn.id}", "openai-processing-ms": "1", "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499", "x-ratelimit-reset-requests": "120ms"}
