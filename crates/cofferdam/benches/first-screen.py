#!/usr/bin/env python3
"""From the start of an agent to its first screen, inside `coffer run` beside the bare agent: pairs in turn, each in a home
that is new, on a terminal of its own. Prints the medians, and the median of the pairs' differences.

usage: first-screen.py COFFER NAME PATTERN [--pairs N] [--env NAME=VALUE…] [-- WORDS…]

NAME is the agent's command, found on PATH; PATTERN a regular expression that its first screen holds, as text without
escapes. The first pair warms caches and is not counted. As an ordinary user.
"""
import argparse
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time

ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78])")


def first_screen(command, pattern, environment, directory, limit=60):
    """Milliseconds until the pattern is on the screen; the program is ended then."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execvpe(command[0], command, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    began = time.monotonic()
    seen = b""
    try:
        while (left := began + limit - time.monotonic()) > 0:
            if not select.select([terminal], [], [], left)[0]:
                break
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
            if pattern.search(ESCAPES.sub(b" ", seen)):
                return (time.monotonic() - began) * 1000
        sys.exit(f"{' '.join(command)}: no first screen, but: {ESCAPES.sub(b' ', seen)[-2000:].decode(errors='replace')}")
    finally:
        # The terminal goes away: whatever runs on it gets SIGHUP, and coffer ends its enclosure.
        os.close(terminal)
        deadline = time.monotonic() + 5
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def remove(home):
    """Removes a home, in which a run may still be putting its things in order."""
    for _ in range(50):
        subprocess.run(["chmod", "-R", "u+rwX", home], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)
        if not os.path.exists(home):
            return
        time.sleep(0.1)
    sys.exit(f"{home} cannot be removed")


def main():
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coffer")
    parser.add_argument("name")
    parser.add_argument("pattern")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--env", action="append", default=[])
    words = sys.argv[1:]
    more = words[words.index("--") + 1 :] if "--" in words else []
    said = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    pattern = re.compile(said.pattern.encode())
    found = []
    for number in range(said.pairs + 1):
        pair = {}
        # Which goes first alternates: what a home or a cache is left with helps both alike.
        for inside in (True, False) if number % 2 else (False, True):
            home = tempfile.mkdtemp(prefix="first-screen.", dir="/var/tmp")
            project = os.path.join(home, "project")
            subprocess.run(["git", "init", "--quiet", project], check=True)
            environment = {name: value for name, value in os.environ.items() if name in ("PATH", "USER", "LANG", "SHELL")}
            environment |= {"HOME": home, "TERM": "xterm-256color", "XDG_STATE_HOME": os.path.join(home, "state")}
            environment |= dict(one.split("=", 1) for one in said.env)
            passed = [word for one in said.env for word in ("--env", one.split("=", 1)[0])]
            command = [said.coffer, "run", *passed, "--", said.name, *more] if inside else [said.name, *more]
            try:
                pair[inside] = first_screen(command, pattern, environment, project)
            finally:
                remove(home)
        if number:
            found.append(pair)
    bare, inside = ([pair[which] for pair in found] for which in (False, True))
    added = [pair[True] - pair[False] for pair in found]
    print(f"{said.name}: bare {statistics.median(bare):.0f} ms, inside {statistics.median(inside):.0f} ms, "
          f"{statistics.median(added):+.0f} ms ({min(added):+.0f} to {max(added):+.0f}) in {said.pairs} pairs")


main()
