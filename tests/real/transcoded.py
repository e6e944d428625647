#!/usr/bin/env python3
"""Pixels that were decoded and encoded anew, before judges: transcoded.py URL DCMDUMP DCIODVFY FOLDER...

URL is a running archive's (http://127.0.0.1:8080). Every DICOM file below the folders that has pixels is stored, made
whole where it lacks UIDs, and asked for in each syntax that frames are encoded in. What pydicom reads of the file
sent and of each answer must be equal; where the stored syntax is lossy it may differ as much as decoders do: by 2 at
most, by 2 on average where colours were compressed apart. RLE and
JPEG-LS are judged by DCMTK (dcmdrle, dcmdjpls) as well. dcmdump and dciodvfy must find no fault they do not find in
the file sent. Every frame asked for by itself must be the frame of the file. A lossy syntax that is not the stored one
must be 406. Prints counts as a line of JSON; exit code 0 when nothing is wrong."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from io import BytesIO

import numpy
import pydicom
import requests
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.pixels.utils import get_nr_frames
from pydicom.uid import UID, generate_uid

from judges import faults_of, where

EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
NAMES = {EXPLICIT: "explicit", RLE: "RLE", JPEG_LS: "JPEG-LS", JPEG_2000: "JPEG 2000"}
MEDIA = {EXPLICIT: "application/octet-stream", RLE: "image/dicom-rle", JPEG_LS: "image/jls", JPEG_2000: "image/jp2"}
NATIVE = {"1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
# Decoders of these may differ.
LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in ("50", "51", "81", "91", "203")}
NEVER = sorted(LOSSY | {f"1.2.840.10008.1.2.4.{n}" for n in ("57", "70", "201", "202")})
# Judges that decode a file to Explicit VR Little Endian.
DECODERS = {RLE: "dcmdrle", JPEG_LS: "dcmdjpls"}
# Attributes that say how pixels lie, and so may differ.
ENCODING = {"PhotometricInterpretation", "PlanarConfiguration", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"}
MOST, MEAN = 2, 2.0
FRAMES = 4


class Judge:
    def __init__(self, base, dcmdump, dciodvfy):
        self.base, self.programs = base, ([dcmdump, "-q", "+L"], [dciodvfy])
        self.session = requests.session()
        self.counts, self.wrong = Counter(), []

    def file(self, path):
        sent = whole(path)
        if sent is None:
            return
        headers = {"Accept": "application/dicom+json", "Content-Type": "application/dicom"}
        answer = self.session.put(f"{self.base}/studies", sent, headers=headers)
        if answer.status_code not in (200, 202) or "00081199" not in answer.json():
            self.counts["refused"] += 1
            return
        url = where(self.base, answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0])
        before = pydicom.dcmread(BytesIO(sent), force=True)
        stored = str(before.file_meta.TransferSyntaxUID)
        try:
            pixels = samples(before)
        except Exception:
            pixels = None
        # Words of OW have two bytes, whatever a sample has: readers disagree.
        if stored == "1.2.840.10008.1.2.2" and before.BitsAllocated > 16:
            pixels = None
        for wanted in NAMES:
            if wanted != stored:
                said = self.transcoded(path, url, sent, before, stored, wanted, pixels)
                self.wrong += [f"{path.name} ({UID(stored).name}) in {NAMES[wanted]}: {fault}" for fault in said]
        for never in NEVER:
            if never != stored:
                status = self.session.get(url, headers={"Accept": f"application/dicom; transfer-syntax={never}"}).status_code
                if status != 406:
                    self.wrong.append(f"{path.name}: {never} answers {status}")

    def transcoded(self, path, url, sent, before, stored, wanted, pixels):
        answer = self.session.get(url, headers={"Accept": f"application/dicom; transfer-syntax={wanted}"})
        if answer.status_code == 406:
            self.counts[f"not {NAMES[wanted]} of {UID(stored).name}"] += 1
            return
        if answer.status_code != 200:
            yield f"{answer.status_code} {answer.text[:200]}"
            return
        self.counts[f"{NAMES[wanted]} of {UID(stored).name}"] += 1
        after = pydicom.dcmread(BytesIO(answer.content))
        if after.file_meta.TransferSyntaxUID != wanted:
            yield f"it says {after.file_meta.TransferSyntaxUID}"
        yield from attributes(before, after)
        exact = stored not in LOSSY
        if pixels is not None:
            yield from self.compared("pydicom", pixels, before, after, exact)
            with tempfile.TemporaryDirectory() as folder:
                yield from self.judged(pathlib.Path(folder), sent, answer.content, before, wanted, pixels, exact)
            yield from self.frames(url, after, wanted)
        elif "PixelData" in before:
            self.counts["pixels no judge reads"] += 1

    def compared(self, judge, pixels, before, after, exact):
        try:
            read = samples(after)
        except Exception as error:
            yield f"{judge} cannot read it: {error}"
            return
        if read.shape != pixels.shape:
            yield f"{judge} reads {read.shape} instead of {pixels.shape}"
        if read.shape == pixels.shape and not numpy.array_equal(read, pixels):
            off = numpy.abs(read.astype("int64") - pixels.astype("int64"))
            # Colour may be kept for four pixels at once, and is spread as each decoder likes.
            shared = before.PhotometricInterpretation.startswith("YBR")
            if exact or (off.mean() > MEAN if shared else off.max() > MOST):
                yield f"{judge} reads pixels that differ by {off.max()}, {off.mean():.3f} on average"
        self.counts[f"read by {judge}"] += 1

    def judged(self, folder, sent, back, before, wanted, pixels, exact):
        paths = folder / "before.dcm", folder / "after.dcm", folder / "decoded.dcm"
        paths[0].write_bytes(sent)
        paths[1].write_bytes(back)
        if str(before.file_meta.TransferSyntaxUID) != "1.2.840.10008.1.2.1.99":
            for program in self.programs:
                status, faults = faults_of([*program, paths[0]])
                later_status, later = faults_of([*program, paths[1]])
                # Below 0 it has broken down, as dciodvfy does with native pixels of 32 bits, and found nothing.
                if status < 0:
                    continue
                yield from sorted(f"{program[0]}: {fault}" for fault in later - faults)
                if later_status > 0 and not status:
                    yield f"{program[0]}: exit code {later_status}"
        if wanted in DECODERS:
            ran = subprocess.run([DECODERS[wanted], paths[1], paths[2]], capture_output=True, timeout=120)
            if ran.returncode:
                # DCMTK reads no more than 16 bits a sample, and says so.
                if before.BitsAllocated <= 16:
                    yield f"{DECODERS[wanted]}: {ran.stderr.decode('latin-1')[:300]}"
            else:
                yield from self.compared(DECODERS[wanted], pixels, before, pydicom.dcmread(paths[2]), exact)

    def frames(self, url, after, wanted):
        count = int(get_nr_frames(after))
        stored = list(raw(after, count))
        for number in sorted({1, count, (count + 1) // 2} if count > FRAMES else range(1, count + 1)):
            accept = {"Accept": f"{MEDIA[wanted]}; transfer-syntax={wanted}"}
            answer = self.session.get(f"{url}/frames/{number}", headers=accept)
            if answer.status_code != 200 or answer.content != stored[number - 1]:
                yield f"frame {number} by itself: {answer.status_code}, {len(answer.content)} bytes of {len(stored[number - 1])}"
            self.counts["frames by themselves"] += 1


def whole(path):
    """The file with what a store requires; None for one that has no pixels, or is no file at all."""
    sent = path.read_bytes()
    if sent[128:132] != b"DICM" or path.name.startswith("DICOMDIR"):
        return None
    try:
        file = pydicom.dcmread(BytesIO(sent))
        if "PixelData" not in file:
            return None
        missing = [word for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID") if not file.get(word)]
        if not missing and file.get("PatientID"):
            return sent
        for word in missing:
            setattr(file, word, "1.2.840.10008.5.1.4.1.1.7" if word == "SOPClassUID" else generate_uid())
        file.PatientID = file.get("PatientID") or "WHOLE"
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
        made = BytesIO()
        file.save_as(made, enforce_file_format=True)
        return made.getvalue()
    except Exception:
        return sent


def samples(file):
    """All samples, colour as RGB."""
    return pixel_array(file)


def raw(file, count):
    if file.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from generate_frames(file.PixelData, number_of_frames=count)
        return
    length = file.Rows * file.Columns * file.get("SamplesPerPixel", 1) * file.BitsAllocated // 8
    if file.PhotometricInterpretation == "YBR_FULL_422":
        length = length // 3 * 2
    for frame in range(count):
        yield file.PixelData[frame * length : (frame + 1) * length]


def attributes(before, after):
    for element in before:
        if element.tag.element != 0 and element.keyword not in ENCODING:
            other = after.get(element.tag)
            if other is None:
                yield f"{element.tag} is gone"
            elif element.VR not in ("SQ", "OW", "OB", "UN") and str(element.value) != str(other.value):
                yield f"{element.tag} differs"
    for element in after:
        if element.tag not in before and element.keyword not in ENCODING:
            yield f"{element.tag} is new"
    moved = not {str(file.file_meta.TransferSyntaxUID) for file in (before, after)} <= NATIVE
    if moved and after.get("SamplesPerPixel", 1) > 1 and after.get("PlanarConfiguration") != 0:
        yield "its planar configuration is not 0"


def main(url, dcmdump, dciodvfy, folders):
    warnings.filterwarnings("ignore")
    judge = Judge(f"{url}/v2", dcmdump, dciodvfy)
    for path in sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*") if path.is_file()):
        judge.file(path)
    print(json.dumps(judge.counts))
    if judge.wrong:
        sys.exit("\n".join(judge.wrong))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
