"""DICOM files as bytes, Explicit VR Little Endian, without any package: what the generators beside this file write."""
import struct

LONG = {"OB", "OW", "UN", "SQ", "UT"}
NUMBERS = {"US": "<H", "UL": "<I"}
EXPLICIT = "1.2.840.10008.1.2.1"
ENDLESS = 0xFFFFFFFF


def element(group, number, vr, value):
    """`value` is a number, several numbers, text, bytes, or the items of a sequence, each bytes."""
    if vr == "SQ":
        value = b"".join(item(content) for content in value)
    elif vr in NUMBERS:
        value = b"".join(struct.pack(NUMBERS[vr], one) for one in (value if isinstance(value, tuple) else (value,)))
    elif isinstance(value, str):
        value = value.encode("ascii") + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return head(group, number, vr, len(value)) + value


def head(group, number, vr, length):
    start = struct.pack("<HH", group, number) + vr.encode("ascii")
    return start + (struct.pack("<HI", 0, length) if vr in LONG else struct.pack("<H", length))


def item(content):
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def meta(sop_class, instance, syntax=EXPLICIT):
    """Preamble and file meta information."""
    group = (
        element(0x0002, 0x0001, "OB", b"\0\1")
        + element(0x0002, 0x0002, "UI", sop_class)
        + element(0x0002, 0x0003, "UI", instance)
        + element(0x0002, 0x0010, "UI", syntax)
        + element(0x0002, 0x0012, "UI", "2.25.329800735698586629295641978511506172920")
    )
    return bytes(128) + b"DICM" + element(0x0002, 0x0000, "UL", len(group)) + group


def dataset(rows):
    """Elements in the order of their tags."""
    return b"".join(element(*row) for row in sorted(rows, key=lambda row: row[:2]))
