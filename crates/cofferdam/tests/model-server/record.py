"""The record of what was asked and how each answer ended: JSON lines, each written when its answer has ended, with `n`
for the order in which they came."""
import json
import threading
import time


class Record:
    """A file of JSON lines; nothing is kept where no file is named."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.lock = threading.Lock()
        self.count = 0

    def begin(self, method, path, headers):
        """A request that has arrived."""
        with self.lock:
            self.count += 1
            return {"n": self.count, "began": time.time(), "method": method, "path": path,
                    "agent": headers.get("user-agent"), "retry": headers.get("x-stainless-retry-count")}

    def end(self, entry):
        """The same, answered."""
        entry["ended"] = time.time()
        if self.file:
            with self.lock:
                self.file.write(json.dumps(entry) + "\n")
                self.file.flush()
