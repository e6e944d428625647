#!/usr/bin/env python3
"""Rendered images before judges: rendered.py BASE_URL DCM2PNM SHEET FOLDER...

Stores each file of the folders, and some with tables made here, has their frames rendered, and compares the PNGs with what pydicom (its look-up tables,
windows and palettes) and DCMTK's dcm2pnm make of the same frames: one grey level of difference with a window, none
in colours that are stored without loss. A JPEG of quality 90 must have a peak signal-to-noise ratio of 40 dB to the PNG.
Files that the archive refuses are passed over; what is not decoded is counted. SHEET becomes a picture with all of
them. Prints counts as a line of JSON; exit code 0 when nothing is wrong."""
import copy
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
import pydicom
import requests
from PIL import Image, ImageDraw
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing

FRAMES = 3
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
TILE = 128


class Judge:
    def __init__(self, base, dcm2pnm):
        self.base, self.dcm2pnm = base, dcm2pnm
        self.session = requests.session()
        self.counts = {"stored": 0, "frames": {}, "not decoded": {}, "no judge": [], "windows": 0, "defaults": 0, "dcm2pnm": 0, "worst dB": 99.0}
        self.wrong, self.sheet, self.low = [], [], {}

    def get(self, path, accept="image/png", **parameters):
        return self.session.get(path, params=parameters, headers={"Accept": accept})

    def image(self, path, **parameters):
        answer = self.get(path, **parameters)
        answer.raise_for_status()
        return numpy.asarray(Image.open(io.BytesIO(answer.content)))

    def file(self, path):
        sent = path.read_bytes()
        if sent[128:132] != b"DICM" or path.name.startswith("DICOMDIR"):
            return
        headers = {"Accept": "application/dicom+json", "Content-Type": "application/dicom"}
        answer = self.session.put(f"{self.base}/studies", sent, headers=headers)
        if answer.status_code not in (200, 202) or "00081199" not in answer.json():
            return
        dataset = pydicom.dcmread(path)
        if "PixelData" not in dataset:
            return
        if not is_number(dataset.get("NumberOfFrames")):
            del dataset.NumberOfFrames
        self.counts["stored"] += 1
        item = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        url = self.base.rsplit("/", 1)[0] + item[item.index("/v2/") :]
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        count = min(int(dataset.get("NumberOfFrames") or 1), FRAMES)
        for number in range(1, count + 1):
            at = f"{url}/frames/{number}/rendered"
            answer = self.get(at)
            if answer.status_code == 406:
                self.counts["not decoded"].setdefault(syntax, []).append(path.name)
                return
            if answer.status_code != 200:
                self.wrong.append(f"{path.name}: {answer.status_code} {answer.text[:200]}")
                return
            self.counts["frames"][syntax] = self.counts["frames"].get(syntax, 0) + 1
            shown = numpy.asarray(Image.open(io.BytesIO(answer.content)))
            try:
                self.frame(path, dataset, number, at, shown, syntax)
            except Exception as error:
                self.wrong.append(f"{path.name}, frame {number}: the judge: {type(error).__name__}: {error}")
            if number == 1:
                small = Image.open(io.BytesIO(self.get(f"{url}/thumbnail").content))
                self.sheet.append((f"{path.name}\n{syntax.removeprefix('1.2.840.10008.')} {dataset.PhotometricInterpretation}", small))

    def frame(self, path, dataset, number, at, shown, syntax):
        name = f"{path.name}, frame {number}"
        try:
            stored = pixel_array(dataset, index=number - 1)
        except RuntimeError:
            self.counts["no judge"].append(path.name)
            return
        photometric = dataset.PhotometricInterpretation
        self.compressed(name, at, shown)
        if photometric == "PALETTE COLOR":
            expected = apply_color_lut(stored, dataset)
            expected = expected >> 8 if expected.dtype.itemsize == 2 else expected
            self.same(name, shown, expected, 0)
        elif dataset.SamplesPerPixel == 3:
            if dataset.BitsAllocated > 8:
                greatest = 2**dataset.BitsStored - 1
                stored = numpy.floor(stored.astype(numpy.float64) * 255 / greatest + 0.5)
            # Of YBR the judge keeps halves at the even number.
            exact = photometric == "RGB" and syntax not in LOSSY
            self.same(name, shown, stored, 0 if exact else 2)
        else:
            self.grey(path, name, dataset, number, at, shown, stored, syntax)

    def compressed(self, name, at, shown):
        ours = decibel(self.get(at, "image/jpeg", quality=90).content, shown)
        self.counts["worst dB"] = min(self.counts["worst dB"], round(ours, 1))
        if ours < 40:
            file = io.BytesIO()
            Image.fromarray(shown).save(file, "jpeg", quality=90, subsampling=0)
            theirs = decibel(file.getvalue(), shown)
            self.low[name] = [round(ours, 2), round(theirs, 2)]
            if ours < theirs - 0.2:
                self.wrong.append(f"{name}: a JPEG of {ours:.2f} dB, and libjpeg's has {theirs:.2f} dB")

    def grey(self, path, name, dataset, number, at, shown, stored, syntax):
        inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
        values = apply_modality_lut(stored, dataset)
        # Of a lossy stream two decoders may make values that differ by one.
        most = 2 if syntax in LOSSY else 1
        groups = "PerFrameFunctionalGroupsSequence" in dataset
        low, high = float(values.min()), float(values.max())
        if not groups:
            self.counts["defaults"] += 1
            self.same(f"{name}, as it is", shown, default(values, stored, dataset, inverted), most)
        center, width = round((low + high) / 2 + 0.25, 2), round(max((high - low) * 0.6, 2.0), 2)
        for function in ("linear", "linear-exact", "sigmoid"):
            self.counts["windows"] += 1
            ours = self.image(at, window=f"{center},{width},{function}")
            expected = windowed(values, dataset, center, width, function.upper().replace("-", "_"))
            self.same(f"{name}, {function}", ours, 255 - expected if inverted else expected, most)
        # Of words of 16 bits dcm2pnm turns each by itself, also where two are a sample.
        turned = syntax == "1.2.840.10008.1.2.2" and dataset.BitsAllocated > 16
        # It takes the function of the dataset with another window, too.
        linear = dataset.get("VOILUTFunction", "LINEAR") == "LINEAR"
        if syntax in NATIVE and linear and not groups and not turned:
            theirs = self.dcmtk(path, number, center, width)
            if theirs is not None:
                self.counts["dcm2pnm"] += 1
                self.same(f"{name}, dcm2pnm", self.image(at, window=f"{center},{width},linear"), theirs, 1)

    def dcmtk(self, path, number, center, width):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "frame.pgm")
            command = [self.dcm2pnm, "--write-8-bit-pnm", "--no-overlays", "--frame", number, "--set-window", center, width, path, file]
            ran = subprocess.run([str(word) for word in command], capture_output=True, timeout=60)
            return numpy.asarray(Image.open(file)) if ran.returncode == 0 and file.exists() else None

    def same(self, name, ours, theirs, most):
        if ours.shape != theirs.shape:
            self.wrong.append(f"{name}: {ours.shape} is not {theirs.shape}")
            return
        difference = numpy.abs(ours.astype(numpy.float64) - theirs.astype(numpy.float64))
        if difference.max() > most:
            self.wrong.append(f"{name}: differs by {difference.max()} (mean {difference.mean():.3f}) of {most}")


def is_number(value):
    try:
        return value is None or int(value) > 0
    except ValueError:
        return False


def decibel(jpeg, shown):
    error = numpy.mean((numpy.asarray(Image.open(io.BytesIO(jpeg))).astype(numpy.float64) - shown) ** 2)
    return 99.0 if error == 0 else float(10 * numpy.log10(255**2 / error))


def parts(values, dataset, apply):
    """0 to 255: the judge's levels reach from what it makes of the least to what it makes of the greatest value."""
    ends = numpy.array([-1e7, 1e7])
    made = apply(numpy.concatenate([values.astype(numpy.float64).ravel(), ends]), dataset)
    low, high = made[-2], made[-1]
    return numpy.floor((made[:-2] - low) / (high - low) * 255 + 0.5).reshape(values.shape)


def windowed(values, dataset, center, width, function):
    other = copy.deepcopy({key: dataset.get(key) for key in ("BitsStored", "PixelRepresentation", "PhotometricInterpretation")})
    wanted = pydicom.Dataset()
    for key, value in other.items():
        setattr(wanted, key, value)
    wanted.WindowCenter, wanted.WindowWidth, wanted.VOILUTFunction = f"{center}", f"{width}", function
    return parts(values, wanted, apply_windowing)


def default(values, stored, dataset, inverted):
    window = dataset.get("WindowCenter") not in (None, "") and dataset.get("WindowWidth") not in (None, "")
    if window:
        first = lambda value: float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
        shown = windowed(values, dataset, first(dataset.WindowCenter), first(dataset.WindowWidth), dataset.get("VOILUTFunction", "LINEAR"))
    elif "VOILUTSequence" in dataset:
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        shown = numpy.floor(apply_voi_lut(values.astype(numpy.int64), dataset) / (2**bits - 1) * 255 + 0.5)
    else:
        padding = dataset.get("PixelPaddingValue")
        seen = values
        if padding is not None:
            limit = dataset.get("PixelPaddingRangeLimit", padding)
            seen = values[(stored < min(padding, limit)) | (stored > max(padding, limit))]
        low, high = float(seen.min()), float(seen.max())
        if dataset.BitsStored == 1:
            low, high = 0.0, 1.0
        part = (values.astype(numpy.float64) - low) / (high - low) if high > low else numpy.zeros(values.shape)
        shown = numpy.floor(numpy.clip(part, 0, 1) * 255 + 0.5)
    return 255 - shown if inverted else shown


def draw(sheet, file):
    """All pictures beside each other, each with its name."""
    columns = 10
    rows = -(-len(sheet) // columns)
    whole = Image.new("RGB", (columns * (TILE + 8), rows * (TILE + 34)), (40, 60, 90))
    pen = ImageDraw.Draw(whole)
    for at, (name, picture) in enumerate(sheet):
        left, top = at % columns * (TILE + 8) + 4, at // columns * (TILE + 34) + 4
        whole.paste(picture.convert("RGB"), (left, top))
        for line, text in enumerate(name.split("\n")):
            pen.text((left, top + TILE + 2 + 12 * line), text[:22], fill=(255, 255, 255))
    pathlib.Path(file).parent.mkdir(parents=True, exist_ok=True)
    whole.save(file)


def made(folder):
    """Files with what the real ones do not have: tables of every kind, over a ramp of all values."""
    def image(name, photometric, pixels, bits, signed=0):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (pydicom.uid.generate_uid() for _ in range(3))
        dataset.PatientID, dataset.Modality, dataset.SamplesPerPixel = "made", "OT", 1
        dataset.PhotometricInterpretation, (dataset.Rows, dataset.Columns) = photometric, pixels.shape
        dataset.BitsAllocated = pixels.dtype.itemsize * 8
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, signed
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        return pathlib.Path(folder, f"{name}.dcm"), dataset

    def palette(dataset, descriptor, data, prefix=""):
        for at, colour in enumerate(("Red", "Green", "Blue")):
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", descriptor)
            setattr(dataset, f"{prefix}{colour}PaletteColorLookupTableData", data[at])

    def table(dataset, keyword, descriptor, words):
        item = pydicom.Dataset()
        item.add_new(0x00283002, "US", descriptor)
        item.add_new(0x00283006, "US", [int(word) for word in words])
        setattr(dataset, keyword, [item])

    def words(*numbers):
        return numpy.array(numbers, "<u2").tobytes()

    eight = numpy.arange(256, dtype=numpy.uint8).reshape(16, 16)
    twelve = (numpy.arange(64 * 64, dtype=numpy.uint16)).reshape(64, 64)
    signed = (numpy.arange(64 * 64) - 2048).astype(numpy.int16).reshape(64, 64)
    files = []
    file = image("palette of 16 bits", "PALETTE COLOR", eight, 8)
    ramp = numpy.arange(256) * 257
    palette(file[1], [256, 0, 16], [turned.astype("<u2").tobytes() for turned in (ramp, ramp[::-1], numpy.roll(ramp, 77))])
    files.append(file)
    file = image("palette of 100 entries from 50", "PALETTE COLOR", eight, 8)
    palette(file[1], [100, 50, 8], [bytes(range(start, start + 100)) for start in (0, 70, 155)])
    files.append(file)
    file = image("segmented palette", "PALETTE COLOR", eight, 8)
    segments = [
        words(0, 1, 0, 1, 255, 65535),
        words(0, 2, 65535, 60000, 1, 127, 100, 0, 1, 7, 1, 126, 65000),
        words(0, 1, 0, 1, 99, 30000, 0, 28, *range(1000, 29000, 1000), 1, 99, 7, 1, 29, 65535),
    ]
    palette(file[1], [256, 0, 16], segments, "Segmented")
    files.append(file)
    # Of tables with 16 bits the judge takes offsets of copied segments for words. It rounds halves to the even number;
    # lines of odd lengths have none.
    file = image("segmented palette of 8 bits", "PALETTE COLOR", eight, 8)
    segments = [
        bytes((0, 2, 0, 9, 1, 125, 200, 1, 129, 3)),
        bytes((0, 1, 77, 1, 99, 255, 2, 1, 3, 0, 0, 0, 1, 57, 0, 0)),
        bytes((0, 3, 1, 2, 3, 1, 61, 100, 2, 2, 0, 0, 0, 0, 0, 128, *range(128))),
    ]
    palette(file[1], [256, 0, 8], segments, "Segmented")
    files.append(file)
    file = image("modality table", "MONOCHROME2", twelve, 12)
    table(file[1], "ModalityLUTSequence", [4096, 0, 16], numpy.sqrt(numpy.arange(4096)) * 1000)
    file[1].ModalityLUTSequence[0].ModalityLUTType = "US"
    files.append(file)
    file = image("VOI table of 12 bits", "MONOCHROME1", twelve, 12)
    table(file[1], "VOILUTSequence", [2000, 1000, 12], numpy.arange(2000)[::-1] * 2)
    files.append(file)
    file = image("VOI table of 16 bits", "MONOCHROME2", twelve, 12)
    table(file[1], "VOILUTSequence", [4096, 0, 16], numpy.arange(4096) ** 2 // 257)
    files.append(file)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        file = image(f"{function} of rescaled", "MONOCHROME2", signed, 12, 1)
        file[1].RescaleSlope, file[1].RescaleIntercept, file[1].VOILUTFunction = "1.5", "-1000", function
        file[1].WindowCenter, file[1].WindowWidth = ["-950.5", "1"], ["1777", "1"]
        files.append(file)
    for path, dataset in files:
        dataset.save_as(path, enforce_file_format=True)


def main(base, dcm2pnm, sheet, folders):
    warnings.filterwarnings("ignore")
    judge = Judge(base, dcm2pnm)
    with tempfile.TemporaryDirectory() as own:
        made(own)
        for path in sorted(path for folder in [own, *folders] for path in pathlib.Path(folder).rglob("*") if path.is_file()):
            judge.file(path)
    draw(judge.sheet, sheet)
    judge.counts["below 40 dB"] = judge.low
    print(json.dumps(judge.counts))
    return judge.wrong


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    found = main(sys.argv[1].rstrip("/"), sys.argv[2], sys.argv[3], sys.argv[4:])
    if found:
        sys.exit("\n".join(found))
