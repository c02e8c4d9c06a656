#!/usr/bin/env python3
"""What the scripted model was asked by an agent, checked: the right key in each question, another try after an error, the
answers of parallel calls in one question, the refusal told to the model, the script to its end.

usage: asked.py RECORD SCRIPT
"""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    asked = [entry for line in file if (entry := json.loads(line)).get("wants") == "answer"]
with open(sys.argv[2], encoding="utf-8") as file:
    turns = json.load(file)["turns"]
# Answers that overlap are recorded as they end.
asked.sort(key=lambda entry: entry["n"])
faults = []


def holds(what, true):
    """Notes what does not hold."""
    if not true:
        faults.append(what)


holds("a question came without the key", all(entry["key"] == "right" for entry in asked))
main = [entry for entry in asked if entry.get("turn") is not None]
holds(f"the script came to turn {[entry['turn'] for entry in main]}, not to its end", [entry["turn"] for entry in main] == list(range(len(turns))))
holds("the last answer did not arrive whole", main and main[-1]["end"] == "whole")
for before, after in zip(main, main[1:]):
    calls = len(turns[before["turn"]].get("calls", []))
    failed = before["status"] != 200 or before["end"] != "whole"
    told = len(after["results"]) - len(before["results"])
    holds(f"after turn {before['turn']} the model was told {told} results of {calls} calls", told == (0 if failed else calls))
last = main[-1] if main else {"results": [], "prompts": []}
holds("the model was not told of the refusal", any("Cofferdam refused" in text for text in last["results"] + last["prompts"]))
for fault in faults:
    print(f"asked: {fault}", file=sys.stderr)
sys.exit(1 if faults else 0)
