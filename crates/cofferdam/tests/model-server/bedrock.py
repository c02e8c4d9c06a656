"""Amazon Bedrock: Converse (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html), and
Anthropic Messages through InvokeModel."""
import base64
import json
import re
from urllib.parse import unquote

import eventstream
import messages
from asked import Asked, texts
from script import pieces

NAME = "bedrock"
TYPE = eventstream.TYPE
PATH = re.compile(r"^/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream)$")
STOPS = {"end": "end_turn", "tools": "tool_use", "length": "max_tokens", "refusal": "guardrail_intervened"}


def read(path, body):
    """What a request to this path asks, where it is one of this protocol."""
    found = PATH.match(path)
    if not found:
        return None
    method = found[2]
    asked = Asked(NAME, "answer", unquote(found[1]), method.endswith("stream"))
    asked.invoked = method.startswith("invoke")
    if asked.invoked:
        messages.fill(asked, body)
        return asked
    asked.size = len(json.dumps(body))
    asked.tools = [tool.get("toolSpec", {}).get("name") for tool in (body.get("toolConfig") or {}).get("tools", [])]
    for message in body.get("messages", []):
        content = message.get("content", [])
        if message.get("role") == "user":
            asked.prompts += texts(content)
        for part in content:
            if "toolResult" in part:
                asked.results.append("\n".join(texts(part["toolResult"].get("content"))))
    return asked


def usage(turn):
    """The prompt's tokens are told in three parts that do not overlap."""
    used = turn.usage
    return {"inputTokens": used.input, "outputTokens": used.output, "totalTokens": used.prompt + used.output,
            "cacheReadInputTokens": used.read, "cacheWriteInputTokens": used.write}


def blocks(turn):
    """The answer's content."""
    found = [{"text": turn.text}] if turn.text else []
    return found + [{"toolUse": {"toolUseId": f"tooluse_{call.id}", "name": call.name, "input": call.arguments}} for call in turn.calls]


def whole(asked, turn):
    """The answer in one piece."""
    if asked.invoked:
        return messages.whole(asked, turn)
    message = {"role": "assistant", "content": blocks(turn)}
    return {"output": {"message": message}, "stopReason": STOPS[turn.stop], "usage": usage(turn), "metrics": {"latencyMs": 1}}


def events(turn):
    """The answer as names and bodies of events."""
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(blocks(turn)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            use = block["toolUse"]
            yield "contentBlockStart", {**at, "start": {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}}
            deltas = [{"toolUse": {"input": piece}} for piece in pieces(json.dumps(use["input"]))]
        else:
            deltas = [{"text": piece} for piece in pieces(block["text"])]
        for delta in deltas:
            yield "contentBlockDelta", {**at, "delta": delta}
        yield "contentBlockStop", at
    yield "messageStop", {"stopReason": STOPS[turn.stop]}
    yield "metadata", {"usage": usage(turn), "metrics": {"latencyMs": 1}}


def stream(asked, turn):
    """The answer as it leaves."""
    if not asked.invoked:
        for name, body in events(turn):
            yield eventstream.frame("event", name, body)
        return
    for event in messages.events(asked, turn):
        if event["type"] == "message_stop":
            event["amazon-bedrock-invocationMetrics"] = {"inputTokenCount": turn.usage.input, "outputTokenCount": turn.usage.output,
                                                         "cacheReadInputTokenCount": turn.usage.read,
                                                         "cacheWriteInputTokenCount": turn.usage.write}
        yield eventstream.frame("event", "chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})


def failure(_status, message):
    """What is answered in place of an answer."""
    return {"message": message}


def broken(kind):
    """An error in mid-stream."""
    return eventstream.frame("exception", "modelStreamErrorException", {"message": f"overloaded: {kind}"})


def models(names):
    """The list of models."""
    return {"modelSummaries": [{"modelId": name, "modelName": name} for name in names]}


def headers(turn):
    """What comes along with each answer."""
    return {"x-amzn-requestid": turn.id}
