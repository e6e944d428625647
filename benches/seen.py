"""Stores on one node and waits on another until the change feed has it: milliseconds, p50 and p99.

usage: seen.py BASE OTHER_BASE HOW_MANY

The time runs from the answer of the one, which names the log's position, to the answer of the other, which is
asked for the newest row with that position as Kymo-Min-Position; one request of its own is in it.
"""

import http.client
import pathlib
import sys
import time
import urllib.parse
import uuid

FILE = pathlib.Path(__file__).parent.parent / "fixtures" / "dicom" / "red-triangle.dcm"
OLD = b"1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395"


def connect(base):
    url = urllib.parse.urlsplit(base)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=60), url.path


def main():
    (one, path), (other, other_path) = connect(sys.argv[1]), connect(sys.argv[2])
    whole = FILE.read_bytes()
    if whole.count(OLD) == 0:
        sys.exit(f"{FILE} does not hold {OLD.decode()}")
    told = []
    for _ in range(int(sys.argv[3])):
        # As long as the old one, so that no length changes.
        new = ("2.25." + "1" + str(uuid.uuid4().int).zfill(39) + "9" * 64)[: len(OLD)].encode()
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
        one.request("POST", f"{path}/studies", whole.replace(OLD, new), headers)
        stored = one.getresponse()
        body = stored.read()
        if stored.status != 200:
            sys.exit(f"a store failed: {stored.status} {body[:300]!r}")
        position = stored.headers["Kymo-Position"]
        began = time.perf_counter()
        headers = {"Kymo-Min-Position": position}
        other.request("GET", f"{other_path}/changefeed/latest?includeMetadata=false", headers=headers)
        seen = other.getresponse()
        body = seen.read()
        took = (time.perf_counter() - began) * 1000
        if seen.status != 200 or new not in body:
            sys.exit(f"the other node does not show it: {seen.status} {body[:300]!r}")
        told.append(took)
    told.sort()
    at = lambda share: told[min(len(told) - 1, int(len(told) * share))]
    print(f"{len(told)} stores: p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, max {told[-1]:.1f} ms (wanted: p99 <= 50 ms)")


main()
