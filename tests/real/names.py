#!/usr/bin/env python3
"""Person names as a running archive shows them, against pydicom's reading: names.py BASE_URL FOLDER

BASE_URL ends in the version (http://127.0.0.1:8080/v2); FOLDER holds DICOM files in many character sets (those
pydicom is tested with: pydicom/data/charset_files). Each is stored, and every name of its metadata, nested ones
included, is compared component group by component group. Then search must find the patient by each group of the
name: whole, by its first character, with one masked, and fuzzily. Exit code 0 when all are alike and found.
"""
import copy
import io
import pathlib
import sys
import unicodedata
import warnings

import pydicom
import requests
from pydicom.uid import UID

GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

def main(base, folder):
    warnings.filterwarnings("ignore", module="pydicom")
    files = sorted(folder.glob("*.dcm"))
    assert len(files) >= 17, f"{folder} holds {len(files)} files"
    session = requests.Session()
    session.trust_env = False
    compared, searched, differences = 0, 0, []
    for number, path in enumerate(files):
        shown = metadata_of(session, base, stored(session, base, identified(path, number)), path.name)
        for place, ours, theirs in pairs(shown, pydicom.dcmread(path), ""):
            compared += 1
            if ours != theirs:
                differences.append(f"{path.name} {place}: shown {ours}, pydicom reads {theirs}")
        for query in queries(shown.get("00100010", {}).get("Value", [None])[0] or {}):
            searched += 1
            if not is_found(session, base, f"2.25.90{number}", query):
                differences.append(f"{path.name} is not found by {query}")
    assert not differences, "\n".join(differences)
    assert compared > len(files), f"{compared} names"
    assert searched > 3 * len(files), f"{searched} searches"
    print(f"{compared} names in {len(files)} files, {searched} searches")


def identified(path, number):
    """The file, with what every store requires if it has none; texts stay the bytes they are."""
    file = pydicom.dcmread(path)
    file.StudyInstanceUID = UID(f"2.25.90{number}")
    file.SeriesInstanceUID = UID(f"2.25.90{number}.1")
    file.SOPInstanceUID = UID(f"2.25.90{number}.1.1")
    if "SOPClassUID" not in file:
        file.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    if "PatientID" not in file:
        file.PatientID = "P1"
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    written = io.BytesIO()
    file.save_as(written, enforce_file_format=False)
    return written.getvalue()


def stored(session, base, content):
    headers = {"Accept": "application/dicom+json", "Content-Type": "application/dicom"}
    answer = session.put(f"{base}/studies", data=content, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]


def metadata_of(session, base, url, name):
    answer = session.get(f"{url}/metadata", headers={"Accept": "application/dicom+json"})
    assert answer.status_code == 200, f"{name}: {answer.text}"
    return answer.json()[0]


def queries(name):
    """What a name must be found by, at once."""
    for text in filter(None, (group.rstrip("^ ") for group in name.values())):
        yield {"PatientName": text}
        yield {"PatientName": f"{text[0]}*"}
        yield {"PatientName": text.split("^")[0], "fuzzymatching": "true"}
        # A mark belongs to the character before it.
        if len(text) > 1 and not unicodedata.combining(text[1]) and text[1] not in "\uff9e\uff9f":
            yield {"PatientName": f"?{text[1:]}"}


def is_found(session, base, study, query):
    answer = session.get(f"{base}/studies", params={"StudyInstanceUID": study, **query}, headers={"Accept": "application/dicom+json"})
    assert answer.status_code in (200, 204), f"{query}: {answer.text}"
    return answer.status_code == 200


def pairs(shown, dataset, around):
    """(path, groups shown, groups that pydicom reads) of each value of each name."""
    dataset = copy.deepcopy(dataset)
    dataset.decode()
    for element in dataset:
        place = f"{around}{element.tag:08X}"
        if element.VR == "SQ":
            items = shown.get(f"{element.tag:08X}", {}).get("Value", [])
            assert len(items) == len(element.value), place
            for number, item in enumerate(element.value):
                yield from pairs(items[number], item, f"{place}/{number + 1}/")
        elif element.VR == "PN":
            values = element.value if element.VM > 1 else [element.value] if element.value else []
            ours = shown.get(f"{element.tag:08X}", {}).get("Value", [])
            theirs = [groups(value) for value in values]
            yield place, ours, theirs


def groups(name):
    read = (name.alphabetic, name.ideographic, name.phonetic)
    # What is no name at all is null in both.
    return {key: text.rstrip(" ") for key, text in zip(GROUPS, read) if text.rstrip(" ")} or None


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), pathlib.Path(sys.argv[2]))
