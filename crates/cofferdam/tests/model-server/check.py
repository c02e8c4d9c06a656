#!/usr/bin/env python3
"""Checks the scripted server by clients that take the answers apart by themselves.

usage: check.py [TEST…]
"""
import base64
import http.client
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest
import zlib

sys.dont_write_bytecode = True

from record import Record  # noqa: E402
from script import Script  # noqa: E402
from server import Server  # noqa: E402

TURN = {"thinking": "Hm, so be it.", "text": "Grüße an alle, I look around first.", "usage": {"input": 3, "read": 5, "write": 7, "output": 11, "thinking": 2},
        "calls": [{"run": "echo 'a b' | tr a-z A-Z"}, {"tool": "read", "arguments": {"path": "/näh", "lines": [1, 20]}}]}
ARGUMENTS = [{"command": "echo 'a b' | tr a-z A-Z", "description": "A step of the script"}, {"path": "/näh", "lines": [1, 20]}]


class Case(unittest.TestCase):
    """A server of its own for each test."""

    def serve(self, key=None, **script):
        """Starts a server with this script."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = os.path.join(directory.name, "script")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(script, file)
        self.recorded = os.path.join(directory.name, "record")
        self.server = Server(0, Script(path), Record(self.recorded))
        self.server.key = key
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.addCleanup(self.server.record.file.close)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, path, body, headers=()):
        """The answer to one question, whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        self.addCleanup(connection.close)
        connection.request("POST", path, json.dumps(body), dict(headers))
        answer = connection.getresponse()
        data = answer.read()
        if answer.headers["content-encoding"] == "gzip":
            data = zlib.decompress(data, wbits=31)
        return answer, data

    def entries(self, count):
        """The record, once it has so many entries."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with open(self.recorded, encoding="utf-8") as file:
                found = [json.loads(line) for line in file]
            if len(found) >= count:
                return sorted(found, key=lambda entry: entry["n"])
            time.sleep(0.02)
        self.fail(f"{count} entries were to be recorded")


def sse(data):
    """The events of a stream: names and values."""
    found = []
    for block in data.decode().replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        if lines:
            found.append((lines.get("event"), lines["data"] if lines["data"] == "[DONE]" else json.loads(lines["data"])))
    return found


def frames(data):
    """The events of Amazon's stream, its checksums checked."""
    found = []
    while data:
        total, length, prelude = struct.unpack(">III", data[:12])
        assert zlib.crc32(data[:8]) == prelude and zlib.crc32(data[: total - 4]) == struct.unpack(">I", data[total - 4 : total])[0]
        headers, at = {}, 12
        while at < 12 + length:
            name = data[at + 1 : at + 1 + data[at]]
            at += 1 + data[at]
            size = struct.unpack(">H", data[at + 1 : at + 3])[0]
            headers[name.decode()] = data[at + 3 : at + 3 + size].decode()
            at += 3 + size
        found.append((headers.get(":event-type") or headers[":exception-type"], json.loads(data[12 + length : total - 4])))
        data = data[total:]
    return found


class Answers(Case):
    """Each protocol: the same turn, streamed and whole."""

    def question(self, stream):
        return {"model": "m", "stream": stream, "tools": [{"name": "bash"}], "messages": [{"role": "user", "content": "go"}]}

    def messages(self, events, thinking=True):
        blocks, usage = {}, {}
        for event in events:
            if event["type"] == "content_block_start":
                blocks[event["index"]] = {**event["content_block"], "json": ""}
            if event["type"] == "content_block_delta":
                delta = event["delta"]
                field = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}.get(delta["type"], "json")
                blocks[event["index"]][field] += delta.get(field, delta.get("partial_json", ""))
            if event["type"] == "message_delta":
                usage = event["usage"]
                self.assertEqual(event["delta"]["stop_reason"], "tool_use")
        found = list(blocks.values())
        self.assertEqual([block["type"] for block in found], ["thinking", "text", "tool_use", "tool_use"])
        self.assertEqual(found[0]["thinking"], TURN["thinking"])
        self.assertEqual(found[1]["text"], TURN["text"])
        self.assertEqual([json.loads(block["json"]) for block in found[2:]], ARGUMENTS)
        self.assertEqual((usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage["output_tokens"]), (3, 5, 7, 11))

    def test_messages(self):
        self.serve(turns=[TURN], chop=3)
        _, data = self.ask("/v1/messages?beta=true", self.question(True))
        events = sse(data)
        self.assertTrue(all(name == event["type"] for name, event in events))
        self.assertEqual(events[0][0], "message_start")
        self.assertIn("ping", [name for name, _ in events])
        self.assertGreater(sum(event.get("delta", {}).get("type") == "input_json_delta" for _, event in events), 6)
        self.messages([event for _, event in events])
        _, data = self.ask("/v1/messages", self.question(False))
        whole = json.loads(data)
        self.assertEqual([block["input"] for block in whole["content"][2:]], ARGUMENTS)
        self.assertEqual(json.loads(self.ask("/v1/messages/count_tokens", self.question(False))[1]).keys(), {"input_tokens"})

    def test_responses(self):
        self.serve(turns=[TURN])
        question = {"model": "m", "stream": True, "tools": [{"type": "function", "name": "bash"}], "input": "go"}
        events = [event for _, event in sse(self.ask("/v1/responses", question)[1])]
        self.assertEqual([event["sequence_number"] for event in events], list(range(len(events))))
        self.assertEqual((events[0]["type"], events[-1]["type"]), ("response.created", "response.completed"))
        pieces = {}
        for event in events:
            if event["type"].endswith("arguments.delta"):
                pieces[event["item_id"]] = pieces.get(event["item_id"], "") + event["delta"]
        self.assertEqual([json.loads(piece) for piece in pieces.values()], ARGUMENTS)
        last = events[-1]["response"]
        self.assertEqual([item["type"] for item in last["output"]], ["reasoning", "message", "function_call", "function_call"])
        self.assertEqual(last["usage"]["input_tokens"], 15)
        self.assertEqual(last["usage"]["input_tokens_details"], {"cached_tokens": 5})
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        self.assertEqual(done, last["output"])
        whole = json.loads(self.ask("/v1/responses", {**question, "stream": False})[1])
        self.assertEqual([json.loads(item["arguments"]) for item in whole["output"][2:]], ARGUMENTS)

    def test_tools_of_codex(self):
        self.serve(turns=[{"calls": [{"run": "ls"}]}], asides="aside")
        tools = [{"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]}]
        question = {"model": "m", "stream": True, "input": [{"type": "additional_tools", "tools": tools}]}
        events = [event for _, event in sse(self.ask("/v1/responses", question)[1])]
        text = "".join(event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta")
        self.assertEqual(text, 'text((await tools.exec_command({"cmd": "ls"})).output);')
        self.assertEqual(events[-1]["response"]["output"][0]["input"], text)
        self.assertEqual(self.entries(1)[0]["tools"], ["exec"])

    def test_chat(self):
        self.serve(turns=[TURN])
        question = {**self.question(True), "tools": [{"type": "function", "function": {"name": "bash"}}]}
        events = sse(self.ask("/v1/chat/completions", {**question, "stream_options": {"include_usage": True}})[1])
        self.assertEqual(events[-1], (None, "[DONE]"))
        chunks = [event for _, event in events[:-1]]
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertEqual(chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"], 5)
        calls, text = {}, ""
        for chunk in chunks[:-1]:
            delta = chunk["choices"][0]["delta"]
            text += delta.get("content") or ""
            for call in delta.get("tool_calls", []):
                calls[call["index"]] = calls.get(call["index"], "") + call["function"]["arguments"]
        self.assertEqual((text, [json.loads(call) for call in calls.values()]), (TURN["text"], ARGUMENTS))
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "tool_calls")
        events = sse(self.ask("/v1/chat/completions", question)[1])
        self.assertTrue(all(event["choices"] and "usage" not in event for _, event in events[:-1]))
        whole = json.loads(self.ask("/v1/chat/completions", {**question, "stream": False})[1])
        self.assertEqual(whole["usage"]["prompt_tokens"], 15)

    def test_gemini(self):
        self.serve(turns=[TURN], asides="aside")
        question = {"tools": [{"functionDeclarations": [{"name": "bash"}]}], "contents": [{"role": "user", "parts": [{"text": "go"}]}]}
        place = "/v1beta/models/gemini-9:"
        chunks = [event for _, event in sse(self.ask(f"{place}streamGenerateContent?alt=sse", question)[1])]
        parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
        self.assertEqual("".join(part.get("text", "") for part in parts if "thought" not in part), TURN["text"])
        self.assertEqual([part["functionCall"]["args"] for part in parts if "functionCall" in part], ARGUMENTS)
        self.assertEqual(chunks[-1]["candidates"][0]["finishReason"], "STOP")
        self.assertEqual(chunks[-1]["usageMetadata"]["cachedContentTokenCount"], 5)
        self.assertIn("totalTokens", json.loads(self.ask(f"{place}countTokens", question)[1]))
        shape = {"type": "OBJECT", "properties": {"why": {"type": "STRING"}, "score": {"type": "INTEGER", "minimum": 1}}}
        whole = json.loads(self.ask(f"{place}generateContent", {"generationConfig": {"responseSchema": shape}})[1])
        self.assertEqual(json.loads(whole["candidates"][0]["content"]["parts"][0]["text"]), {"why": "aside", "score": 1})

    def test_bedrock(self):
        self.serve(turns=[TURN])
        question = {"toolConfig": {"tools": [{"toolSpec": {"name": "bash"}}]}, "messages": [{"role": "user", "content": [{"text": "go"}]}]}
        events = frames(self.ask("/model/a%3Ab/converse-stream", question)[1])
        calls = {}
        for name, event in events:
            if name == "contentBlockDelta" and "toolUse" in event["delta"]:
                at = event["contentBlockIndex"]
                calls[at] = calls.get(at, "") + event["delta"]["toolUse"]["input"]
        self.assertEqual([json.loads(call) for call in calls.values()], ARGUMENTS)
        self.assertEqual(events[-1][1]["usage"]["cacheReadInputTokens"], 5)
        chunks = frames(self.ask("/model/a%3Ab/invoke-with-response-stream", self.question(True))[1])
        self.messages([json.loads(base64.b64decode(event["bytes"])) for _, event in chunks])
        self.assertEqual(self.entries(2)[0]["model"], "a:b")

    def test_compressed(self):
        self.serve(turns=[TURN], gzip=True)
        answer, data = self.ask("/v1/messages", self.question(True), [("accept-encoding", "gzip, br")])
        self.assertEqual(answer.headers["content-encoding"], "gzip")
        self.messages([event for _, event in sse(data)])


class Faults(Case):
    """What goes wrong as it does at the real ones."""

    QUESTION = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "go"}]}

    def test_refusals(self):
        self.serve(key="sk-made-up", turns=[{"status": 429, "retry_after": 2}, {"status": 529}, {"text": "ok"}])
        key = [("x-api-key", "sk-made-up")]
        self.assertEqual(self.ask("/v1/messages", self.QUESTION)[0].status, 401)
        self.assertEqual(self.ask("/v1/messages", self.QUESTION, [("authorization", "Bearer sk-made-u")])[0].status, 401)
        answer, data = self.ask("/v1/messages", self.QUESTION, key)
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "2"))
        self.assertEqual(json.loads(data)["error"]["type"], "rate_limit_error")
        self.assertEqual(self.ask("/v1/messages", self.QUESTION, key)[0].status, 529)
        self.assertEqual(self.ask("/v1/messages", self.QUESTION, key)[0].status, 200)
        self.assertEqual(self.ask("/v1/other", {}, key)[0].status, 404)
        self.assertEqual([(entry["key"], entry["status"]) for entry in self.entries(6)],
                         [("none", 401), ("wrong", 401), ("right", 429), ("right", 529), ("right", 200), ("right", 404)])

    def test_ends_in_mid_stream(self):
        self.serve(turns=[{"text": "a long sentence", "error": "overloaded_error", "after": 3}, {"text": "a long sentence", "break": 3}])
        events = sse(self.ask("/v1/messages", self.QUESTION)[1])
        self.assertEqual((len(events), events[-1][0], events[-1][1]["error"]["type"]), (4, "error", "overloaded_error"))
        with self.assertRaises(http.client.IncompleteRead):
            self.ask("/v1/messages", self.QUESTION)
        self.assertEqual([entry["end"] for entry in self.entries(2)], ["error", "broken off"])

    def test_cancellation_is_noticed(self):
        self.serve(turns=[{"text": "a long sentence", "pause": 0.2}])
        body = json.dumps(self.QUESTION).encode()
        with socket.create_connection(("127.0.0.1", self.server.server_port), timeout=20) as connection:
            connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            self.assertTrue(connection.recv(1))
        self.assertEqual(self.entries(1)[0]["end"], "cancelled")


if __name__ == "__main__":
    unittest.main()
