#!/usr/bin/env python3
"""Asks a running archive for what is large, checks the answers and prints how long they took. BASE ends in the version.

  asks.py frames BASE STUDY SERIES INSTANCE FRAMES COUNT   COUNT frames of the `tiles` or `native` file of large.py,
                                                           anywhere, on one connection: the first, p50, p99, worst
  asks.py groups BASE STUDY SERIES INSTANCE FRAMES         metadata of its `groups` file, every frame of it compared
  asks.py many BASE INSTANCES PER_SERIES                   stores one study of small CT instances; prints its UID
  asks.py metadata BASE PATH INSTANCES                     metadata below PATH, counted as it streams
  asks.py thumbnails BASE PATH COUNT CLIENTS               the thumbnail of PATH, asked for COUNT times by so many at once
                                                           in boxes of different sizes: the first, p50, p99, worst
"""
import concurrent.futures
import http.client
import json
import random
import struct
import sys
import time
import urllib.parse

from dataset import dataset, element, meta

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "2.25.329800735698586629295641978511506173"
BATCH = 100
JSON = {"Accept": "application/dicom+json"}


class Server:
    def __init__(self, base):
        url = urllib.parse.urlsplit(base)
        self.path = url.path
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=300)

    def ask(self, path, headers, method="GET", body=None):
        """The answer, of which nothing is read yet."""
        self.connection.request(method, self.path + path, body, headers)
        answer = self.connection.getresponse()
        if answer.status != 200:
            sys.exit(f"{method} {path}: {answer.status} {answer.read()[:300]!r}")
        return answer


def milliseconds(since):
    return (time.perf_counter() - since) * 1000


def quantile(sorted_times, share):
    return sorted_times[min(len(sorted_times) - 1, int(share * len(sorted_times)))]


def frames(base, study, series, instance, number, count):
    server, number = Server(base), int(number)
    pick = random.Random(7)
    times = []
    for _ in range(int(count)):
        frame = pick.randint(1, number)
        began = time.perf_counter()
        accept = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
        body = server.ask(f"/studies/{study}/series/{series}/instances/{instance}/frames/{frame}", accept).read()
        times.append(milliseconds(began))
        start = body.index(b"\r\n\r\n") + 4
        marked = body[start + 2 :] if body[start : start + 2] == b"\xff\xd8" else body[start:]
        found = struct.unpack("<I", marked[:4])[0]
        if found != frame:
            sys.exit(f"frame {frame} is {found}")
    first, ordered = times[0], sorted(times)
    print(
        f"first {first:.1f} ms, p50 {quantile(ordered, 0.5):.2f} ms, p99 {quantile(ordered, 0.99):.2f} ms, "
        f"worst {ordered[-1]:.1f} ms of {len(times)} requests"
    )


def groups(base, study, series, instance, number):
    began = time.perf_counter()
    answer = Server(base).ask(f"/studies/{study}/series/{series}/instances/{instance}/metadata", JSON)
    first = milliseconds(began)
    body = answer.read()
    whole = milliseconds(began)
    described = json.loads(body)[0]["52009230"]["Value"]
    if len(described) != int(number):
        sys.exit(f"{len(described)} of {number} frames are described")
    for frame, item in enumerate(described):
        content = item["00209111"]["Value"][0]
        place = item["00209113"]["Value"][0]["00200032"]["Value"][2]
        if content["00209157"]["Value"] != [1, frame + 1, frame % 7 + 1] or abs(float(place) - frame * 0.625) > 1e-6:
            sys.exit(f"frame {frame + 1} is described wrongly")
    print(f"{len(body):,} bytes, first of them after {first:.1f} ms, all after {whole:.1f} ms; {number} frames described rightly")


def instance(series, number):
    """A CT of 2 x 2 pixels with as much text as one of a scanner."""
    uid = f"{STUDY}.{series}.{number}"
    coded = dataset([(0x0008, 0x0100, "SH", "24931000"), (0x0008, 0x0102, "SH", "SCT"), (0x0008, 0x0104, "LO", "Thorax")])
    referenced = dataset([(0x0008, 0x1150, "UI", CT), (0x0008, 0x1155, "UI", f"{STUDY}.0.1")])
    described = dataset(
        [
            (0x0008, 0x0008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"), (0x0008, 0x0012, "DA", "20240229"), (0x0008, 0x0013, "TM", "101500"),
            (0x0008, 0x0016, "UI", CT), (0x0008, 0x0018, "UI", uid), (0x0008, 0x0020, "DA", "20240229"), (0x0008, 0x0021, "DA", "20240229"),
            (0x0008, 0x0022, "DA", "20240229"), (0x0008, 0x0023, "DA", "20240229"), (0x0008, 0x0030, "TM", "101500"),
            (0x0008, 0x0031, "TM", "101501"), (0x0008, 0x0032, "TM", "101502"), (0x0008, 0x0033, "TM", "101503"),
            (0x0008, 0x0050, "SH", "MANY1"), (0x0008, 0x0060, "CS", "CT"), (0x0008, 0x0070, "LO", "A maker"),
            (0x0008, 0x0080, "LO", "A hospital"), (0x0008, 0x0090, "PN", "Refers^Who"), (0x0008, 0x1010, "SH", "STATION1"),
            (0x0008, 0x1030, "LO", "Thorax with contrast"), (0x0008, 0x103E, "LO", f"Series {series}"), (0x0008, 0x1090, "LO", "A model"),
            (0x0008, 0x1140, "SQ", [referenced]), (0x0008, 0x2218, "SQ", [coded]),
            (0x0010, 0x0010, "PN", "Many^Instances"), (0x0010, 0x0020, "LO", "MANY1"), (0x0010, 0x0030, "DA", "19700101"),
            (0x0010, 0x0040, "CS", "O"), (0x0010, 0x1010, "AS", "054Y"), (0x0010, 0x1030, "DS", "75.5"),
            (0x0018, 0x0010, "LO", "Agent"), (0x0018, 0x0015, "CS", "CHEST"), (0x0018, 0x0022, "CS", "HELICAL"), (0x0018, 0x0050, "DS", "0.625"),
            (0x0018, 0x0060, "DS", "120"), (0x0018, 0x0090, "DS", "500"), (0x0018, 0x1000, "LO", "12345"), (0x0018, 0x1020, "LO", "7.2"),
            (0x0018, 0x1030, "LO", "Thorax protocol"), (0x0018, 0x1100, "DS", "360"), (0x0018, 0x1110, "DS", "949.1"), (0x0018, 0x1111, "DS", "541"),
            (0x0018, 0x1120, "DS", "0"), (0x0018, 0x1130, "DS", "151.5"), (0x0018, 0x1140, "CS", "CW"), (0x0018, 0x1150, "IS", "500"),
            (0x0018, 0x1151, "IS", "210"), (0x0018, 0x1152, "IS", "105"), (0x0018, 0x1160, "SH", "BODY FILTER"), (0x0018, 0x1170, "IS", "42"),
            (0x0018, 0x1190, "DS", "1.2"), (0x0018, 0x1210, "SH", "STANDARD"), (0x0018, 0x5100, "CS", "FFS"),
            (0x0020, 0x000D, "UI", STUDY), (0x0020, 0x000E, "UI", f"{STUDY}.{series}"), (0x0020, 0x0010, "SH", "1"),
            (0x0020, 0x0011, "IS", str(series)), (0x0020, 0x0012, "IS", "1"), (0x0020, 0x0013, "IS", str(number)),
            (0x0020, 0x0032, "DS", f"-250.5\\-250.5\\{number * 0.625:.3f}"), (0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0"),
            (0x0020, 0x0052, "UI", f"{STUDY}.9.{series}"), (0x0020, 0x1040, "LO", "SN"), (0x0020, 0x1041, "DS", f"{number * 0.625:.3f}"),
            (0x0028, 0x0002, "US", 1), (0x0028, 0x0004, "CS", "MONOCHROME2"), (0x0028, 0x0010, "US", 2), (0x0028, 0x0011, "US", 2),
            (0x0028, 0x0030, "DS", "0.976562\\0.976562"), (0x0028, 0x0100, "US", 16), (0x0028, 0x0101, "US", 16), (0x0028, 0x0102, "US", 15),
            (0x0028, 0x0103, "US", 0), (0x0028, 0x1050, "DS", "40"), (0x0028, 0x1051, "DS", "400"), (0x0028, 0x1052, "DS", "-1024"),
            (0x0028, 0x1053, "DS", "1"), (0x0028, 0x1054, "LO", "HU"),
        ]
    )
    return meta(CT, uid) + described + element(0x7FE0, 0x0010, "OW", struct.pack("<4H", number & 0xFFFF, series, 0, 0))


def many(base, instances, per_series):
    server, instances, per_series = Server(base), int(instances), int(per_series)
    headers = {**JSON, "Content-Type": 'multipart/related; type="application/dicom"; boundary=many'}
    for first in range(0, instances, BATCH):
        parts = []
        for at in range(first, min(first + BATCH, instances)):
            file = instance(at // per_series + 1, at % per_series + 1)
            parts.append(b"--many\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n")
        server.ask("/studies", headers, "POST", b"".join(parts) + b"--many--\r\n").read()
    print(STUDY)


def metadata(base, path, instances):
    # Each instance has this key once at its top, and nowhere else.
    key, server = b'"00280010"', Server(base)
    began = time.perf_counter()
    answer = server.ask(f"/{path}/metadata", JSON)
    first, count, length, tail = milliseconds(began), 0, 0, b""
    while piece := answer.read(1 << 20):
        length += len(piece)
        window = tail + piece
        count += window.count(key)
        tail = window[-len(key) + 1 :]
    if count != int(instances):
        sys.exit(f"{count} of {instances} instances are described")
    print(f"{count} instances, {length:,} bytes: first of them after {first:.1f} ms, all after {milliseconds(began):.1f} ms")


def thumbnail(server, path, size):
    began = time.perf_counter()
    body = server.ask(f"/{path}/thumbnail?viewport={size},{size}", {"Accept": "image/jpeg"}).read()
    if not (body.startswith(b"\xff\xd8") and body.endswith(b"\xff\xd9")):
        sys.exit(f"no JPEG: {body[:80]!r}")
    return milliseconds(began)


def thumbnails(base, path, count, clients):
    first = thumbnail(Server(base), path, 128)

    def client(number):
        server = Server(base)
        share = int(count) // int(clients)
        return [thumbnail(server, path, 64 + (number * share + n) % 128) for n in range(share)]

    with concurrent.futures.ThreadPoolExecutor(int(clients)) as pool:
        times = sorted(ms for times in pool.map(client, range(int(clients))) for ms in times)
    print(
        f"first {first:.1f} ms, p50 {quantile(times, 0.5):.2f} ms, p99 {quantile(times, 0.99):.2f} ms, "
        f"worst {times[-1]:.1f} ms of {len(times)} requests by {clients} clients"
    )


if __name__ == "__main__":
    tasks = {"frames": (frames, 6), "groups": (groups, 5), "many": (many, 3), "metadata": (metadata, 3), "thumbnails": (thumbnails, 4)}
    task, arguments = tasks.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if task is None or len(sys.argv) - 2 != arguments:
        sys.exit(__doc__)
    task(*sys.argv[2:])
