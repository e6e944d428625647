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
# The first byte of TCP_INFO.
ESTABLISHED = 1


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

    readers = [ask(url, whole) for _ in range(slow)]
    began = time.monotonic()
    cut, held_most, meanwhile = drip(readers, pid, began, window + GRACE, work)
    grown = held_most[0] - rest[0]
    print(f"{slow} slow readers: {grown / slow:.1f} KiB and {(held_most[1] - rest[1]) / slow:.2f} open files each, at most")
    print(f"meanwhile {NORMAL} clients fetch {meanwhile:.0f} images a second, {meanwhile / before:.2f} of before")
    wrong = work.errors
    if cut:
        print(f"{len(cut)} of {slow} were cut after {min(cut):.0f} to {max(cut):.0f} s (the window is {window} s)")
    if len(cut) < slow:
        print(f"{slow - len(cut)} of {slow} were not cut within {window + GRACE} s")
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


def drip(readers, pid, began, longest, work):
    """One byte a second from each. A reader whose connection the server has ended is cut, whatever lies in its buffer."""
    left, cut, most = set(readers), [], (0, 0)
    work.rate()
    while left and time.monotonic() - began < longest:
        turn = time.monotonic()
        for reader in list(left):
            if ended(reader):
                left.discard(reader)
                cut.append(time.monotonic() - began)
                continue
            reader.setblocking(False)
            try:
                reader.recv(1)
            except BlockingIOError:
                pass
            except OSError:
                left.discard(reader)
                cut.append(time.monotonic() - began)
        now = held(pid)
        most = (max(most[0], now[0]), max(most[1], now[1]))
        time.sleep(max(0, 1 - (time.monotonic() - turn)))
    return cut, most, work.rate()


def ended(reader):
    """Whether the other side has closed or reset; what it had sent may still be unread."""
    return reader.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED


def held(pid):
    """KiB of memory, and open files, sockets among them."""
    status = open(f"/proc/{pid}/status", encoding="ascii").read()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


def freed(pid, rest, when):
    """Open files come back to what they were; memory is printed, since an allocator keeps some."""
    began = time.monotonic()
    while True:
        memory, files = held(pid)
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
