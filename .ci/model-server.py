#!/usr/bin/env python3
"""A scripted model server: streams Anthropic Messages and OpenAI Responses, asks for one shell command after the other,
and ends with what the last one printed.

usage: model-server.py PORTFILE COMMAND...

MODEL_KEY, where it is set, is the key that each request must carry.
"""
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STEPS = sys.argv[2:]
KEY = os.environ.get("MODEL_KEY")


def results(body):
    """What the commands so far printed, as the agent tells it."""
    found = []
    for message in body.get("messages", []):
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "tool_result":
                found.append(json.dumps(part.get("content")))
    for item in body.get("input", []) if isinstance(body.get("input"), list) else []:
        if item.get("type") == "function_call_output":
            found.append(json.dumps(item.get("output")))
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.whole(404, b"{}")

    do_HEAD = do_GET

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        if KEY and KEY not in (self.headers.get("x-api-key"), (self.headers.get("authorization") or "").removeprefix("Bearer ")):
            return self.whole(401, b'{"error": {"type": "authentication_error", "message": "this is not the key"}}')
        if "count_tokens" in self.path:
            return self.whole(200, b'{"input_tokens": 10}')
        said = results(body)
        names = [tool.get("name") for tool in body.get("tools", [])]
        if self.path.startswith("/v1/messages"):
            return self.stream(self.messages_events(body, said, names))
        return self.stream(self.responses_events(said, names))

    def messages_events(self, body, said, names):
        if "Bash" in names and len(said) < len(STEPS):
            block = {"type": "tool_use", "id": f"toolu_{len(said)}", "name": "Bash", "input": {}}
            arguments = json.dumps({"command": STEPS[len(said)], "description": "a step"})
            delta, stop = {"type": "input_json_delta", "partial_json": arguments}, "tool_use"
        else:
            block = {"type": "text", "text": ""}
            delta, stop = {"type": "text_delta", "text": "Done: " + (said or [""])[-1]}, "end_turn"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model", "m"), "content": [],
                   "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1}}
        return [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]

    def responses_events(self, said, names):
        if len(said) < len(STEPS):
            # Of a model that it does not know Codex names no tools, and has them all the same.
            name = "shell" if "shell" in names else "exec_command"
            arguments = {"cmd": STEPS[len(said)]} if name == "exec_command" else {"command": ["sh", "-c", STEPS[len(said)]]}
            item = {"type": "function_call", "id": f"fc_{len(said)}", "call_id": f"call_{len(said)}", "name": name,
                    "arguments": json.dumps(arguments)}
        else:
            text = "Done: " + (said or [""])[-1]
            item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        usage = {"input_tokens": 10, "input_tokens_details": None, "output_tokens": 5, "output_tokens_details": None,
                 "total_tokens": 15}
        return [
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}},
        ]

    def stream(self, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            piece = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def whole(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1], "w") as file:
    file.write(str(server.server_port))
server.serve_forever()
