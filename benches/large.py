#!/usr/bin/env python3
"""Writes one large multi-frame instance, sparse on disk: large.py FILE FRAMES
Explicit VR Little Endian, native pixels, one mark at the start of each frame. Prints its three UIDs."""
import struct
import sys

LONG = {"OB", "OW", "UN", "SQ", "UT"}
STUDY, SERIES, INSTANCE = ("2.25.329800735698586629295641978511506172917", "2.25.329800735698586629295641978511506172918", "2.25.329800735698586629295641978511506172919")
MULTI_FRAME_GRAYSCALE_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
SIDE = 512
FRAME = SIDE * SIDE * 2


def element(group, number, vr, value):
    if isinstance(value, int):
        value = struct.pack("<H", value)
    if isinstance(value, str):
        value = value.encode("ascii") + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH", group, number) + vr.encode("ascii")
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


path, frames = sys.argv[1], int(sys.argv[2])
length = frames * FRAME
assert 0 < length < 0xFFFF_FFFE, "the length of the pixel data must fit in 32 bits"
meta = (
    element(0x0002, 0x0001, "OB", b"\0\1")
    + element(0x0002, 0x0002, "UI", MULTI_FRAME_GRAYSCALE_WORD)
    + element(0x0002, 0x0003, "UI", INSTANCE)
    + element(0x0002, 0x0010, "UI", "1.2.840.10008.1.2.1")
    + element(0x0002, 0x0012, "UI", "2.25.329800735698586629295641978511506172920")
)
dataset = b"".join(
    element(*row)
    for row in [
        (0x0008, 0x0016, "UI", MULTI_FRAME_GRAYSCALE_WORD),
        (0x0008, 0x0018, "UI", INSTANCE),
        (0x0008, 0x0020, "DA", "20240229"),
        (0x0008, 0x0030, "TM", "101500"),
        (0x0008, 0x0050, "SH", "LARGE1"),
        (0x0008, 0x0060, "CS", "OT"),
        (0x0008, 0x0064, "CS", "SYN"),
        (0x0008, 0x0090, "PN", ""),
        (0x0010, 0x0010, "PN", "Large^Instance"),
        (0x0010, 0x0020, "LO", "LARGE1"),
        (0x0010, 0x0030, "DA", ""),
        (0x0010, 0x0040, "CS", ""),
        (0x0020, 0x000D, "UI", STUDY),
        (0x0020, 0x000E, "UI", SERIES),
        (0x0020, 0x0010, "SH", "1"),
        (0x0020, 0x0011, "IS", "1"),
        (0x0020, 0x0013, "IS", "1"),
        (0x0028, 0x0002, "US", 1),
        (0x0028, 0x0004, "CS", "MONOCHROME2"),
        (0x0028, 0x0008, "IS", str(frames)),
        (0x0028, 0x0010, "US", SIDE),
        (0x0028, 0x0011, "US", SIDE),
        (0x0028, 0x0100, "US", 16),
        (0x0028, 0x0101, "US", 16),
        (0x0028, 0x0102, "US", 15),
        (0x0028, 0x0103, "US", 0),
    ]
)
group_length = element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta)))
pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length)
with open(path, "wb") as file:
    file.write(bytes(128) + b"DICM" + group_length + meta + dataset + pixels)
    start = file.tell()
    for frame in range(frames):
        file.seek(start + frame * FRAME)
        file.write(struct.pack("<I", frame + 1))
    file.truncate(start + length)
print(STUDY, SERIES, INSTANCE)
