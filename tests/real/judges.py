#!/usr/bin/env python3
"""What comes back, before two judges of DICOM files: judges.py BASE_URL DCMDUMP DCIODVFY FOLDER...

Stores each file of the folders and fetches it in two ways. As stored it must come back byte for byte. In
Explicit VR Little Endian, where the archive offers that, DCMTK's dcmdump and dicom3tools' dciodvfy must find no
fault in it that they do not find in the file sent, and pydicom must read the same values and, where they were not
compressed, the same pixels; transcoded.py compares the others.
Files that the archive refuses are passed over. Prints counts as a line of JSON; exit code 0 when nothing is wrong."""
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings
from io import BytesIO

import pydicom
import requests
from pydicom.uid import ExplicitVRLittleEndian

AS_STORED = "application/dicom; transfer-syntax=*"
EXPLICIT = f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
# What decoding changes.
PIXELS = (
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
)
# Syntaxes whose re-encoding decodes no pixels.
NATIVE = {"1.2.840.10008.1.2": "implicit", "1.2.840.10008.1.2.2": "big endian", "1.2.840.10008.1.2.1.99": "deflated"}


def main(base, dcmdump, dciodvfy, folders):
    warnings.filterwarnings("ignore")
    session = requests.session()
    counts = {"stored": 0, "refused": 0, "same": 0, "re-encoded": {}, "not offered": {}}
    wrong = []
    files = sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*") if path.is_file())
    for path in files:
        sent = path.read_bytes()
        if sent[128:132] != b"DICM" or path.name.startswith("DICOMDIR"):
            continue
        answer = session.put(f"{base}/studies", sent, headers={"Accept": "application/dicom+json", "Content-Type": "application/dicom"})
        if answer.status_code not in (200, 202) or "00081199" not in answer.json():
            counts["refused"] += 1
            continue
        counts["stored"] += 1
        url = where(base, answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0])
        back = session.get(url, headers={"Accept": AS_STORED})
        if back.status_code == 200 and back.content == sent:
            counts["same"] += 1
        else:
            wrong.append(f"{path.name}: as stored: {back.status_code}, {len(back.content)} bytes of {len(sent)}")
        syntax = str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[]).file_meta.TransferSyntaxUID)
        back = session.get(url, headers={"Accept": EXPLICIT})
        name = NATIVE.get(syntax, "explicit" if syntax == ExplicitVRLittleEndian else "other")
        if back.status_code == 406:
            counts["not offered"][name] = counts["not offered"].get(name, 0) + 1
        elif back.status_code != 200:
            wrong.append(f"{path.name}: re-encoded: {back.status_code} {back.text[:200]}")
        elif back.content != sent:
            counts["re-encoded"][name] = counts["re-encoded"].get(name, 0) + 1
            decoded = name == "other"
            faults = judged(readable(sent, syntax), back.content, dcmdump, dciodvfy, decoded)
            wrong += [f"{path.name}: {fault}" for fault in faults]
    print(json.dumps(counts))
    return wrong


def where(base, url):
    """The address of an instance below the base that was asked, whatever host the answer names."""
    return base.rsplit("/", 1)[0] + url[re.search("/v[0-9]+/", url).start() :]


def readable(sent, syntax):
    """The file as the judges can read it: dciodvfy takes a deflated dataset for faults."""
    if NATIVE.get(syntax) != "deflated":
        return sent
    file, inflated = pydicom.dcmread(BytesIO(sent)), BytesIO()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.save_as(inflated, enforce_file_format=True)
    return inflated.getvalue()


def judged(sent, back, dcmdump, dciodvfy, decoded):
    with tempfile.TemporaryDirectory() as folder:
        before, after = pathlib.Path(folder, "before.dcm"), pathlib.Path(folder, "after.dcm")
        before.write_bytes(sent)
        after.write_bytes(back)
        for judge in ([dcmdump, "-q", "+L"], [dciodvfy]):
            status, faults = faults_of([*judge, before])
            later_status, later = faults_of([*judge, after])
            yield from sorted(f"{judge[0]}: {fault}" for fault in later - faults)
            # Below 0 it is the judge that has broken down: dciodvfy does with colour of 32 bits.
            if later_status > 0 and not status:
                yield f"{judge[0]}: exit code {later_status}"
        before, after = pydicom.dcmread(before, force=True), pydicom.dcmread(after)
        if decoded:
            for keyword in PIXELS:
                for dataset in (before, after):
                    if keyword in dataset:
                        del dataset[keyword]
        yield from differences(before, after)


def faults_of(command):
    """Exit code, and what is called an error; the two programs put `Error -`, `E:` or `F:` before it."""
    ran = subprocess.run(command, stdout=subprocess.DEVNULL if "-q" in command else subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    lines = (ran.stderr + (ran.stdout or b"")).decode("latin-1").splitlines()
    # Where in the file it stands differs between encodings.
    lines = [re.sub(r"0x[0-9a-f]+|\b[0-9]{3,}\b", "N", line) for line in lines]
    return ran.returncode, {line for line in lines if line.startswith(("Error", "E:", "F:"))}


def differences(before, after):
    if after.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        yield f"transfer syntax {after.file_meta.TransferSyntaxUID}"
    yield from different(before, after, before.original_encoding[1] is False)


def different(before, after, swapped):
    for element in before:
        # Group lengths are gone, or counted anew.
        if element.tag.element == 0:
            continue
        if element.tag not in after:
            yield f"{element.tag} is gone"
            continue
        other = after[element.tag]
        if element.VR == "SQ":
            if other.VR != "SQ" or len(element.value) != len(other.value):
                yield f"{element.tag} has other items"
                continue
            for ours, theirs in zip(element.value, other.value):
                yield from different(ours, theirs, swapped)
        elif not same(element, other, swapped):
            yield f"{element.tag} {element.VR} {digest(element.value)} is {other.VR} {digest(other.value)}"
    for element in after:
        if element.tag not in before and element.tag.element != 0:
            yield f"{element.tag} is new"


def same(element, other, swapped):
    ours, theirs = element.value, other.value
    if isinstance(ours, bytes) and isinstance(theirs, bytes):
        if swapped:
            # Words of pixels turn with the byte order: read from both sides they are the same.
            turned = ours[1::2] + ours[::2], theirs[::2] + theirs[1::2]
            doubles = len(ours) % 4 == 0 and turn(ours, 4) == theirs
            return ours == theirs or turned[0] == turned[1] or doubles
        return ours == theirs or ours + b"\0" == theirs
    return ours == theirs or str(ours) == str(theirs)


def turn(value, width):
    return b"".join(value[at : at + width][::-1] for at in range(0, len(value), width))


def digest(value):
    """Enough to see a difference, and nothing to read."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:8]


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    found = main(sys.argv[1].rstrip("/"), sys.argv[2], sys.argv[3], sys.argv[4:])
    if found:
        sys.exit("\n".join(found))
