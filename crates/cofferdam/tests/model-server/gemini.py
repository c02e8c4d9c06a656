"""Gemini generateContent: https://ai.google.dev/api/generate-content, errors by https://google.aip.dev/193."""
import json
import re

import sse
from asked import Asked, texts
from script import pieces

NAME = "gemini"
TYPE = "text/event-stream"
PATH = re.compile(r"^/v1(?:beta)?/(?:.*/)?models/([^/:]+):(generateContent|streamGenerateContent|countTokens)$")
STOPS = {"end": "STOP", "tools": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
KINDS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL",
         503: "UNAVAILABLE", 529: "UNAVAILABLE"}


def read(path, body):
    """What a request to this path asks, where it is one of this protocol."""
    found = PATH.match(path)
    if not found:
        return None
    method = found[2]
    asked = Asked(NAME, "count" if method == "countTokens" else "answer", found[1], method == "streamGenerateContent",
                  size=len(json.dumps(body)))
    for tool in body.get("tools") or []:
        asked.tools += [one.get("name") for one in tool.get("functionDeclarations", [])]
    config = body.get("generationConfig") or {}
    asked.schema = config.get("responseJsonSchema") or config.get("responseSchema")
    for content in body.get("contents", []):
        parts = content.get("parts", [])
        if content.get("role") == "user":
            asked.prompts += texts(parts)
        for part in parts:
            if "functionResponse" in part:
                answer = part["functionResponse"].get("response", {})
                asked.results.append(answer["output"] if isinstance(answer.get("output"), str) else json.dumps(answer))
    return asked


def usage(turn):
    """The cached part is within the prompt; what was thought is beside the answer."""
    used = turn.usage
    return {"promptTokenCount": used.prompt, "cachedContentTokenCount": used.read, "candidatesTokenCount": used.output,
            "thoughtsTokenCount": used.thinking, "totalTokenCount": used.prompt + used.output + used.thinking,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": used.prompt}]}


def chunk(asked, turn, parts, last):
    """A part of the answer; the last says why it ends."""
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = STOPS[turn.stop]
    return {"candidates": [candidate], "usageMetadata": usage(turn), "modelVersion": asked.model, "responseId": turn.id}


def calls(turn):
    """The calls of tools, which Gemini sends whole."""
    return [{"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}, "thoughtSignature": "c2NyaXB0ZWQ="}
            for call in turn.calls]


def whole(asked, turn):
    """The answer in one piece."""
    parts = [{"text": turn.thinking, "thought": True}] if turn.thinking else []
    return chunk(asked, turn, parts + ([{"text": turn.text}] if turn.text else []) + calls(turn), True)


def events(asked, turn):
    """The answer as a stream of chunks."""
    parts = [{"text": piece, "thought": True} for piece in pieces(turn.thinking)] + [{"text": piece} for piece in pieces(turn.text)]
    for part in parts:
        yield chunk(asked, turn, [part], False)
    yield chunk(asked, turn, calls(turn) or [{"text": ""}], True)


def stream(asked, turn):
    """The answer as it leaves."""
    for event in events(asked, turn):
        yield sse.data(event, "\r\n\r\n")


def failure(status, message):
    """What is answered in place of an answer."""
    details = []
    if status == 429:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]
    return {"error": {"code": status, "message": message, "status": KINDS.get(status, "UNKNOWN"), "details": details}}


def broken(kind):
    """An error in mid-stream."""
    return sse.data({"error": {"code": 503, "message": f"The model is overloaded: {kind}", "status": "UNAVAILABLE"}}, "\r\n\r\n")


def count(asked):
    """How many tokens the request's prompt has."""
    return {"totalTokens": asked.size // 4 + 1, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": asked.size // 4 + 1}]}


def models(names):
    """The list of models."""
    methods = ["generateContent", "countTokens"]
    return {"models": [{"name": f"models/{name}", "displayName": name, "inputTokenLimit": 1048576, "outputTokenLimit": 65536,
                        "supportedGenerationMethods": methods} for name in names]}


def headers(_turn):
    """What comes along with each answer."""
    return {"x-gemini-service-tier": "standard", "server-timing": "gfet4t7; dur=1"}
