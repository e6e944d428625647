#!/usr/bin/env python3
"""The requests of the vendor's Python tutorial against a running archive: vendor.py BASE_URL FOLDER

Sent as the tutorial sends them, with `requests` and a body made by urllib3's form-data encoder that is labelled
multipart/related without a type. BASE_URL ends in the version; FOLDER holds the tutorial's three instances.
The archive must not hold their study yet. Exit code 0 when each answer is what the tutorial says."""
import email.parser
import email.policy
import pathlib
import sys
from io import BytesIO

import requests
import urllib3
from pydicom import dcmread

STUDY = "1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420"
SERIES = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652"
RED = "1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395"
JSON = {"Accept": "application/dicom+json"}
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


def encode_multipart_related(fields, boundary=None):
    if boundary is None:
        boundary = urllib3.filepost.choose_boundary()
    body, _ = urllib3.filepost.encode_multipart_formdata(fields, boundary)
    return body, f"multipart/related; boundary={boundary}"


def parts(response):
    head = b"Content-Type: " + response.headers["Content-Type"].encode() + b"\r\n\r\n"
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + response.content)
    return [part.get_payload(decode=True) for part in message.iter_parts()]


def main(base, folder):
    client = requests.session()
    files = {name: (folder / f"{name}.dcm").read_bytes() for name in ("red-triangle", "green-square", "blue-circle")}
    assert client.get(f"{base}/changefeed", headers={"Authorization": "Bearer none"}).status_code == 200

    def post(url, fields):
        body, content_type = encode_multipart_related(fields)
        return client.post(url, body, headers={**JSON, "Content-Type": content_type, "Authorization": "Bearer none"})

    answer = post(f"{base}/studies", {"file": ("dicomfile", files["red-triangle"], "application/dicom")})
    assert answer.status_code == 200, answer.text
    assert stored(answer) == 1 and answer.headers["Content-Type"].startswith("application/dicom+json")
    answer = post(f"{base}/studies/{STUDY}", {"file_part1": ("red", files["red-triangle"], "application/dicom"), "file_part2": ("green", files["green-square"], "application/dicom")})
    assert answer.status_code == 202, answer.text
    assert stored(answer) == 1 and len(answer.json()["00081198"]["Value"]) == 1
    answer = client.post(f"{base}/studies", files["blue-circle"], headers={**JSON, "Content-Type": "application/dicom"})
    assert answer.status_code == 200 and stored(answer) == 1, answer.text

    retrieve(client, base, files)
    search(client, base)
    for path in (f"studies/{STUDY}/series/{SERIES}/instances/{RED}", f"studies/{STUDY}/series/{SERIES}", f"studies/{STUDY}"):
        assert client.delete(f"{base}/{path}").status_code == 204, path
        assert client.delete(f"{base}/{path}").status_code == 404, path
    print("the vendor's Python tutorial: stored, retrieved, found and deleted")


def stored(answer):
    return len(answer.json()["00081199"]["Value"])


def retrieve(client, base, files):
    series, instance = f"{base}/studies/{STUDY}/series/{SERIES}", f"{base}/studies/{STUDY}/series/{SERIES}/instances/{RED}"
    answer = client.get(f"{base}/studies/{STUDY}", headers=AS_STORED)
    assert sorted(parts(answer)) == sorted(files.values())
    assert sorted(parts(client.get(series, headers=AS_STORED))) == sorted([files["red-triangle"], files["green-square"]])
    answer = client.get(instance, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.content == files["red-triangle"]
    red = dcmread(BytesIO(answer.content))
    for url, count in ((f"{base}/studies/{STUDY}", 3), (series, 2), (instance, 1)):
        answer = client.get(f"{url}/metadata", headers=JSON)
        assert answer.status_code == 200 and len(answer.json()) == count, url
        again = client.get(f"{url}/metadata", headers={**JSON, "If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and again.content == b"", url
    octets = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
    answer = client.get(f"{instance}/frames/1", headers=octets)
    frame = red.PixelData[: red.Rows * red.Columns * red.SamplesPerPixel]
    assert parts(answer) == [frame]
    answer = client.get(f"{instance}/frames/1", headers={"Accept": "application/octet-stream; transfer-syntax=*"})
    assert answer.content == frame


def search(client, base):
    asked = [
        ("studies", {"StudyInstanceUID": STUDY}, 1),
        ("series", {"SeriesInstanceUID": SERIES}, 1),
        (f"studies/{STUDY}/series", {"SeriesInstanceUID": SERIES}, 1),
        ("instances", {"SOPInstanceUID": RED}, 1),
        (f"studies/{STUDY}/instances", {"SOPInstanceUID": RED}, 1),
        (f"studies/{STUDY}/series/{SERIES}/instances", {"SOPInstanceUID": RED}, 1),
        (f"studies/{STUDY}/instances", {}, 3),
    ]
    for path, params, count in asked:
        answer = client.get(f"{base}/{path}", headers=JSON, params=params)
        assert answer.status_code == 200 and len(answer.json()) == count, (path, answer.status_code)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), pathlib.Path(sys.argv[2]))
