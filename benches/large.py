#!/usr/bin/env python3
"""Writes one large multi-frame instance, sparse on disk, and prints its three UIDs: large.py KIND FILE FRAMES

KIND is
  native   Explicit VR Little Endian, frames of 512 x 512 x 16 bit, one mark at the start of each
  tiles    a slide: one fragment a frame between the markers of JPEG, with the frame's number in it, and an empty
           offset table; FRAME_BYTES (default 1000) is the length of a fragment
  groups   native frames of 2 x 2 x 8 bit, each described in the per-frame functional groups
"""
import os
import struct
import sys

from dataset import ENDLESS, dataset, element, head, meta

ROOT = "2.25.3298007356985866292956419785115061729"
MULTI_FRAME_GRAYSCALE_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
KINDS = {"native": 17, "tiles": 27, "groups": 37}


def uids(kind):
    return [f"{ROOT}{KINDS[kind] + level}" for level in range(3)]


def rows(kind, sop_class, modality, frames, side, bits):
    study, series, instance = uids(kind)
    return [
        (0x0008, 0x0016, "UI", sop_class),
        (0x0008, 0x0018, "UI", instance),
        (0x0008, 0x0020, "DA", "20240229"),
        (0x0008, 0x0030, "TM", "101500"),
        (0x0008, 0x0050, "SH", "LARGE1"),
        (0x0008, 0x0060, "CS", modality),
        (0x0008, 0x0064, "CS", "SYN"),
        (0x0008, 0x0090, "PN", ""),
        (0x0010, 0x0010, "PN", "Large^Instance"),
        (0x0010, 0x0020, "LO", "LARGE1"),
        (0x0010, 0x0030, "DA", ""),
        (0x0010, 0x0040, "CS", ""),
        (0x0020, 0x000D, "UI", study),
        (0x0020, 0x000E, "UI", series),
        (0x0020, 0x0010, "SH", "1"),
        (0x0020, 0x0011, "IS", "1"),
        (0x0020, 0x0013, "IS", "1"),
        (0x0028, 0x0002, "US", 1),
        (0x0028, 0x0004, "CS", "MONOCHROME2"),
        (0x0028, 0x0008, "IS", str(frames)),
        (0x0028, 0x0010, "US", side),
        (0x0028, 0x0011, "US", side),
        (0x0028, 0x0100, "US", bits),
        (0x0028, 0x0101, "US", bits),
        (0x0028, 0x0102, "US", bits - 1),
        (0x0028, 0x0103, "US", 0),
    ]


def native(file, frames):
    side = 512
    frame_bytes = side * side * 2
    length = frames * frame_bytes
    assert 0 < length < ENDLESS - 1, "the length of the pixel data must fit in 32 bits"
    described = dataset(rows("native", MULTI_FRAME_GRAYSCALE_WORD, "OT", frames, side, 16))
    file.write(meta(MULTI_FRAME_GRAYSCALE_WORD, uids("native")[2]) + described + head(0x7FE0, 0x0010, "OW", length))
    start = file.tell()
    for frame in range(frames):
        file.seek(start + frame * frame_bytes)
        file.write(struct.pack("<I", frame + 1))
    file.truncate(start + length)


def tiles(file, frames):
    length = int(os.environ.get("FRAME_BYTES", "1000"))
    assert length % 2 == 0 and length >= 16
    described = dataset(rows("tiles", WHOLE_SLIDE, "SM", frames, 256, 8))
    file.write(meta(WHOLE_SLIDE, uids("tiles")[2], JPEG) + described + head(0x7FE0, 0x0010, "OB", ENDLESS))
    file.write(struct.pack("<HHI", 0xFFFE, 0xE000, 0))
    for frame in range(frames):
        file.write(struct.pack("<HHI", 0xFFFE, 0xE000, length) + b"\xff\xd8" + struct.pack("<I", frame + 1))
        file.seek(length - 8, os.SEEK_CUR)
        file.write(b"\xff\xd9")
    file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


def groups(file, frames):
    def described(frame):
        content = dataset(
            [
                (0x0018, 0x9074, "DT", f"20240229101500.{frame % 1000000:06}"),
                (0x0020, 0x9056, "SH", "1"),
                (0x0020, 0x9057, "UL", frame + 1),
                (0x0020, 0x9157, "UL", (1, frame + 1, frame % 7 + 1)),
            ]
        )
        position = element(0x0020, 0x0032, "DS", f"-120.5\\-95.25\\{frame * 0.625:.3f}")
        turned = element(0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0")
        window = dataset([(0x0028, 0x1050, "DS", "40"), (0x0028, 0x1051, "DS", "400")])
        return dataset(
            [
                (0x0020, 0x9111, "SQ", [content]),
                (0x0020, 0x9113, "SQ", [position]),
                (0x0020, 0x9116, "SQ", [turned]),
                (0x0028, 0x9132, "SQ", [window]),
            ]
        )

    measures = dataset([(0x0018, 0x0050, "DS", "0.625"), (0x0028, 0x0030, "DS", "0.5\\0.5")])
    shared = dataset([(0x0028, 0x9110, "SQ", [measures])])
    everything = dataset(
        rows("groups", ENHANCED_CT, "CT", frames, 2, 8)
        + [(0x5200, 0x9229, "SQ", [shared]), (0x5200, 0x9230, "SQ", [described(frame) for frame in range(frames)])]
    )
    file.write(meta(ENHANCED_CT, uids("groups")[2]) + everything + element(0x7FE0, 0x0010, "OB", bytes(4 * frames)))


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in KINDS:
        sys.exit(__doc__)
    kind, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(path, "wb") as out:
        {"native": native, "tiles": tiles, "groups": groups}[kind](out, count)
    print(*uids(kind))
