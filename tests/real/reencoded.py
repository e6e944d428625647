#!/usr/bin/env python3
"""What pydicom reads of a file and of the same file re-encoded is the same: reencoded.py URL FOLDER…

URL is a running archive's (http://127.0.0.1:8080). Every DICOM file below the folders that is in Implicit VR
Little Endian, Explicit VR Big Endian or deflated is stored and asked for in Explicit VR Little Endian, then
compared element by element, nested, values as bytes in little endian. Exit code 0 when all are equal.
"""
import io
import pathlib
import sys
import warnings

import pydicom
import requests
from pydicom.uid import UID

EXPLICIT = "1.2.840.10008.1.2.1"
SOURCES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
# Bytes of the words that byte order turns around.
WORDS = {"OW": 2, "OL": 4, "OF": 4, "OV": 8, "OD": 8}


def turned(value, word):
    return b"".join(value[at : at + word][::-1] for at in range(0, len(value), word))


def flat(dataset, big, path=""):
    for element in dataset:
        if element.tag.element == 0:
            continue
        here = f"{path}/{element.tag}"
        if element.VR == "SQ":
            yield here, None
            for number, item in enumerate(element.value):
                yield from flat(item, big, f"{here}/{number}")
        elif isinstance(element.value, bytes):
            word = WORDS.get(element.VR, 1)
            yield here, turned(element.value, word) if big and word > 1 else element.value
        else:
            yield here, str(element.value)


def compare(name, stored, sent):
    big = stored.file_meta.TransferSyntaxUID == SOURCES[1]
    assert sent.file_meta.TransferSyntaxUID == EXPLICIT, name
    before, after = dict(flat(stored, big)), dict(flat(sent, False))
    assert before.keys() == after.keys(), (name, before.keys() ^ after.keys())
    different = [path for path in before if before[path] != after[path]]
    assert not different, (name, [(path, before[path], after[path]) for path in different][:3])
    for element in stored.file_meta:
        if element.tag not in (0x00020000, 0x00020010):
            assert sent.file_meta[element.tag].value == element.value, (name, element.tag)
    length = sum(1 for _ in sent.iterall())
    assert length > 3, name


def main(url, folders):
    warnings.filterwarnings("ignore")
    compared = {syntax: 0 for syntax in SOURCES}
    for path in sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*.dcm")):
        try:
            stored = pydicom.dcmread(path)
            syntax = stored.file_meta.TransferSyntaxUID
        except Exception:
            continue
        if syntax not in SOURCES:
            continue
        headers = {"Accept": "application/dicom+json", "Content-Type": "application/dicom"}
        put = requests.put(f"{url}/v2/studies", data=path.read_bytes(), headers=headers)
        if put.status_code == 409:
            continue
        assert put.status_code in (200, 202), (path, put.status_code, put.text)
        there = put.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        got = requests.get(there, headers={"Accept": "application/dicom"})
        assert got.status_code == 200, (path, got.status_code, got.text)
        compare(str(path), stored, pydicom.dcmread(io.BytesIO(got.content)))
        compared[syntax] += 1
    assert all(compared.values()), compared
    print("equal to pydicom:", ", ".join(f"{count} of {UID(syntax).name}" for syntax, count in compared.items()))


main(sys.argv[1], sys.argv[2:])
