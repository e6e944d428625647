#!/usr/bin/env python3
"""Readers that are slow, beside some that are not: slow.py BASE PID SLOW WINDOW

SLOW connections each ask for a study of some megabytes and take one byte of it a second, from a small buffer,
while 8 others fetch an image again and again. Prints how many images those had before and meanwhile, how much
memory and how many open files each slow reader costs, and when the slow ones are cut, which they must be soon
after WINDOW seconds. Then as many ask again and go away at once: everything they held must be free soon after.
The archive must hold what `large.py native` writes, of some 8 frames. Exit code 1 when one of this is not so."""
import http.client
import os
import socket
import sys
import threading
import time
import urllib.parse

import large

NORMAL = 8
BEFORE, FREE_WITHIN, GRACE = 5, 10, 30
BUFFER = 4096


def main(base, pid, slow, window):
    url = urllib.parse.urlsplit(base)
    study, series, instance = large.uids("native")
    whole = f"{url.path}/studies/{study}"
    image = f"{whole}/series/{series}/instances/{instance}/frames/1"
    work = Load(url, image)
    work.wait(BEFORE)
    before = work.rate()
    rest = held(pid)
    print(f"at rest: {rest[0]:,} KiB, {rest[1]} open files; {NORMAL} clients fetch {before:.0f} images a second")

    began = time.monotonic()
    readers = [ask(url, whole) for _ in range(slow)]
    first, last, left, most, meanwhile = drip(readers, pid, rest, began, window + GRACE, work)
    print(f"{slow} slow readers: {(most[0] - rest[0]) / slow:.1f} KiB and {(most[1] - rest[1]) / slow:.2f} open files each, at most")
    print(f"meanwhile {NORMAL} clients fetch {meanwhile:.0f} images a second, {meanwhile / before:.2f} of before")
    wrong = work.errors
    if left < slow:
        print(f"{slow - left} of {slow} were cut, the first after {first:.0f} s, the last after {last:.0f} s of asking (the window is {window:g} s)")
    if left:
        print(f"{left} of {slow} were not cut within {window + GRACE:g} s")
        wrong += 1
    for reader in readers:
        reader.close()
    wrong += freed(pid, rest, "after the slow ones")

    gone = [ask(url, whole) for _ in range(slow)]
    for reader in gone:
        reader.recv(1)
        reader.close()
    wrong += freed(pid, rest, "after downloads that were cancelled")
    work.stop()
    if work.errors:
        print(f"{work.errors} images could not be fetched: {work.said}")
    sys.exit(1 if wrong else 0)


class Load:
    """Clients that do not stop."""

    def __init__(self, url, path):
        self.url, self.path = url, path
        self.count, self.errors, self.said, self.ending = 0, 0, "", False
        self.mark = (time.monotonic(), 0)
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.fetch, daemon=True) for _ in range(NORMAL)]
        for thread in self.threads:
            thread.start()

    def fetch(self):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=60)
        while not self.ending:
            try:
                connection.request("GET", self.path, headers={"Accept": "application/octet-stream"})
                answer = connection.getresponse()
                body = answer.read()
                right = answer.status == 200 and len(body) == 512 * 512 * 2
                said = "" if right else f"{answer.status}, {len(body)} bytes"
            except OSError as error:
                right, said = False, str(error)
                connection.close()
            with self.lock:
                self.count += right
                self.errors += not right
                self.said = self.said or said

    def rate(self):
        """Images a second since this was asked last."""
        now, count = time.monotonic(), self.count
        (then, counted), self.mark = self.mark, (now, count)
        return (count - counted) / (now - then)

    def wait(self, seconds):
        self.rate()
        time.sleep(seconds)

    def stop(self):
        self.ending = True
        for thread in self.threads:
            thread.join()


def ask(url, path):
    """A connection that has asked and reads nothing yet; its buffer is small."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    reader.settimeout(60)
    reader.connect((url.hostname, url.port))
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    reader.sendall(f"GET {path} HTTP/1.1\r\nHost: slow\r\nAccept: {accept}\r\n\r\n".encode())
    return reader


def drip(readers, pid, rest, began, longest, work):
    """One byte a second from each, until the archive has closed them all. Answers when, since they began, it had
    closed the first and the last, how many are left, and the most that it held. The archive's own sockets tell: what it had sent before it
    closed still lies in the system's buffers, so the reader does not see it yet."""
    first, last, most, left = None, None, (0, 0, 0), len(readers)
    work.rate()
    while left and time.monotonic() - began < longest:
        turn = time.monotonic()
        for reader in readers:
            reader.setblocking(False)
            try:
                reader.recv(1)
            except OSError:
                pass
        now = held(pid)
        most = tuple(max(pair) for pair in zip(most, now))
        left = max(0, now[2] - rest[2])
        if now[2] < most[2]:
            last = time.monotonic() - began
            first = first or last
        time.sleep(max(0, 1 - (time.monotonic() - turn)))
    return first, last, left, most, work.rate()


def held(pid):
    """KiB of memory, open files, and sockets among them."""
    status = open(f"/proc/{pid}/status", encoding="ascii").read()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    files = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            files.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass
    return memory, len(files), sum(file.startswith("socket:") for file in files)


def freed(pid, rest, when):
    """Open files come back to what they were; memory is printed, since an allocator keeps some."""
    began = time.monotonic()
    while True:
        memory, files, _ = held(pid)
        waited = time.monotonic() - began
        # The clients that go on may hold some.
        if files <= rest[1] + NORMAL:
            print(f"{when}: {files} open files after {waited:.1f} s, {memory:,} KiB")
            return 0
        if waited > FREE_WITHIN:
            print(f"{when}: still {files} open files after {waited:.1f} s, {memory:,} KiB")
            return 1
        time.sleep(0.05)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
