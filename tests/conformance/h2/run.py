"""Runs the cases against a gateway: `run.py HOST PORT tls|plain PATH`. One JSON object a line: case, title, fault."""

import json
import sys

from cases import run, table
from wire import Target


def main():
    host, port, tls, path = sys.argv[1:]
    target = Target(host, int(port), tls == "tls", path)
    for case, title, steps in table(target):
        try:
            fault = run(target, steps)
        except Exception as broken:  # A case that breaks is one that failed; the others still tell.
            fault = f"{type(broken).__name__}: {broken}"
        print(json.dumps({"case": case, "title": title, "fault": fault}), flush=True)


main()
