"""A scripted model server for tests: speaks the models' protocols on loopback as the real ones do, says what its script says,
and records what it was asked. Python's standard library is all that it needs.

usage: python3 model-server SCRIPT PORTFILE [RECORD] [--port PORT]

MODEL_KEY, where it is set, is the key that each request must carry.
"""
import argparse
import os
import sys

# The source tree stays as it is.
sys.dont_write_bytecode = True

from record import Record  # noqa: E402
from script import Script  # noqa: E402
from server import Server  # noqa: E402


def main():
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", help="what is answered, JSON (script.py says how)")
    parser.add_argument("portfile", help="where the port is written, once it is open")
    parser.add_argument("record", nargs="?", help="where the requests are recorded, JSON lines")
    parser.add_argument("--port", type=int, default=0)
    said = parser.parse_args()
    server = Server(said.port, Script(said.script), Record(said.record))
    with open(said.portfile + ".new", "w", encoding="ascii") as file:
        file.write(str(server.server_port))
    os.rename(said.portfile + ".new", said.portfile)
    server.serve_forever()


main()
