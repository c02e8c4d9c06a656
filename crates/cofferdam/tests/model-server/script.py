"""The script: what the model answers, turn by turn.

    {
      "asides": "a title",            to requests that offer no tools, as JSON of their schema where they say one; without
                                      it these take a turn as all others do
      "repeat": true,                 after the last turn the first follows; otherwise the last is said again
      "models": ["scripted"],         what the list of models names
      "gzip": true,                   answers are compressed for a client that takes it
      "chop": 5,                      streams leave in writes of so many bytes, wherever events end
      "turns": [
        {"text": "I look.", "thinking": "…", "calls": [{"run": "ls"}, {"tool": "Read", "arguments": {…}}]},
        {"status": 429, "retry_after": 1},          429, 500, 529, … in place of an answer
        {"text": "…", "error": "overloaded_error", "after": 3},   an error in mid-stream, after three events
        {"text": "…", "break": 3},                  the stream breaks off after three events
        {"text": "…", "wait": 1.5, "pause": 0.1},   seconds before the first event and between two
        {"text": "Done: {result}", "stop": "length", "usage": {"input": 3, "output": 5, "read": 7, "write": 9, "thinking": 2}}
      ]
    }

A call is of a tool by its name, or `run`: a shell command, by whatever tool the agent offers for it. `{result}` in a text is
what the last tool printed as the agent told it, `{results}` all that tools have answered so far.
"""
import json
import secrets
import threading
from dataclasses import dataclass, field

from schema import instance

# The tool by which each agent runs a shell command, and how it is asked: in JSON, or in a text (Codex has its models write
# JavaScript that calls the tool inside).
SHELLS = {
    "Bash": lambda command: {"command": command, "description": "A step of the script"},
    "bash": lambda command: {"command": command, "description": "A step of the script"},
    "run_shell_command": lambda command: {"command": command, "description": "A step of the script"},
    "exec_command": lambda command: {"cmd": command},
    "shell_command": lambda command: {"command": command},
    "shell": lambda command: {"command": ["bash", "-lc", command]},
    "exec": lambda command: f"text((await tools.exec_command({json.dumps({'cmd': command})})).output);",
}


@dataclass
class Usage:
    """Tokens: of the prompt read fresh, from the cache, written to the cache; of the answer; of these thought."""

    input: int = 0
    read: int = 0
    write: int = 0
    output: int = 0
    thinking: int = 0

    @property
    def prompt(self):
        """All tokens of the prompt."""
        return self.input + self.read + self.write


@dataclass
class Call:
    """A call of a tool; `free` where its input is a text and no JSON (OpenAI's custom tools)."""

    name: str
    arguments: dict
    free: str | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def json(self):
        """The arguments as the model writes them."""
        return json.dumps(self.arguments)


@dataclass
class Turn:
    """One answer."""

    index: int | None
    said: dict
    text: str
    thinking: str
    calls: list
    usage: Usage
    id: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def stop(self):
        """Why the answer ends: "end", "tools", "length" or "refusal"."""
        return self.said.get("stop") or ("tools" if self.calls else "end")


class Script:
    """The turns, and which is next."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.said = json.load(file)
        if not self.said.get("turns"):
            raise SystemExit(f"{path}: a script has turns")
        self.lock = threading.Lock()
        self.next = 0
        self.cached = 0

    def answer(self, asked):
        """The turn that answers this request."""
        with self.lock:
            if "asides" in self.said and not asked.tools:
                text = self.said["asides"]
                index, said = None, {"text": json.dumps(instance(asked.schema, text)) if asked.schema else text}
            else:
                index = self.next
                said = self.said["turns"][index]
                self.next = index + 1
                if self.next == len(self.said["turns"]):
                    self.next = 0 if self.said.get("repeat") else index
        text = said.get("text", "")
        text = text.replace("{result}", (asked.results or [""])[-1]).replace("{results}", "\n".join(asked.results))
        calls = [call(one, asked.tools) for one in said.get("calls", [])]
        thinking = said.get("thinking", "")
        written = len(text) + len(thinking) + sum(len(one.json) for one in calls)
        return Turn(index, said, text, thinking, calls, self.usage(asked, said, written, len(thinking)))

    def usage(self, asked, said, written, thought):
        """Four characters are a token; what earlier requests said comes from the cache, as providers cache prefixes."""
        with self.lock:
            total = asked.size // 4 + 1
            read = min(self.cached, total)
            self.cached = max(self.cached, total)
        guess = {"input": 1, "read": read, "write": max(0, total - read - 1), "output": written // 4 + 1, "thinking": thought // 4}
        return Usage(**{**guess, **said.get("usage", {})})


def call(said, tools):
    """A call as this agent understands it."""
    if "run" in said:
        # An agent that names no shell tool is taken for one of the least common denominator.
        name = next((name for name in SHELLS if name in tools), "exec_command")
        asked = SHELLS[name](said["run"])
        return Call(name, {}, asked) if isinstance(asked, str) else Call(name, asked)
    return Call(said["tool"], said.get("arguments", {}), said.get("input"))


def pieces(text, size=9):
    """A text as it is streamed: in small pieces that end in the middle of words."""
    return [text[at : at + size] for at in range(0, len(text), size)]
