#!/usr/bin/env python3
"""Frames as other decoders see them: pixels.py make OUT FILES | pixels.py check OUT

`make` writes frames into the folder OUT: NAME.stream as it is stored, NAME.raw as it must be decoded (little endian, by
pixel, colours as RGB where the syntax says so), NAME.json what it is and how far a decoder may be off. They are those
of real files, and others made here: every order of JPEG-LS, JPEG 2000 with and without loss, HTJ2K, DCMTK's JPEG.
`check` reads what was encoded from them, NAME.UID.encoded, with every decoder there is: it must be NAME.decoded again.
Prints counts as a line of JSON; exit code 0 when nothing is wrong."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import numpy
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID

BASE = "1.2.840.10008.1.2"
LOSSY = [f"{BASE}.4.50", f"{BASE}.4.51", f"{BASE}.4.81", f"{BASE}.4.91", f"{BASE}.4.203"]
JPEG = [f"{BASE}.4.50", f"{BASE}.4.51"]
JPEG_2000 = [f"{BASE}.4.90", f"{BASE}.4.91", f"{BASE}.4.201", f"{BASE}.4.202", f"{BASE}.4.203"]
COMPRESSED = JPEG + JPEG_2000 + [f"{BASE}.5", f"{BASE}.4.57", f"{BASE}.4.70", f"{BASE}.4.80", f"{BASE}.4.81"]
# Judges in the order in which they are believed; DCMTK's own JPEG is behind the files that it makes.
PLUGINS = ["pylibjpeg", "pyjpegls", "gdcm", "pillow", "pydicom"]
# What others decode otherwise, and rightly so or not: the reason.
LEFT_OUT = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "its header was overwritten and announces 3,722,445,056 columns",
    "SC_rgb_jpeg.dcm": "its dataset is not in the syntax it names",
}
FRAMES = 3


def main(arguments):
    warnings.filterwarnings("ignore")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    if arguments[0] == "make":
        return make(pathlib.Path(arguments[1]), pathlib.Path(arguments[2]))
    return check(pathlib.Path(arguments[1]))


def make(out, files):
    counts, wrong = {}, []
    for path in sorted(files.rglob("*.dcm")):
        try:
            data = pydicom.dcmread(path)
            syntax = str(data.file_meta.TransferSyntaxUID)
        except Exception:
            continue
        if syntax not in COMPRESSED or "PixelData" not in data or path.name in LEFT_OUT:
            continue
        wrong += of_file(out, path, data, counts)
    made(out, counts)
    if shutil.which("dcmcjpeg"):
        wrong += by_dcmtk(out, files, counts)
    print(json.dumps(counts))
    return wrong


def of_file(out, path, data, counts):
    name = path.stem
    syntax = str(data.file_meta.TransferSyntaxUID)
    count, wrong = int(data.get("NumberOfFrames", 1)), []
    for index in range(min(count, FRAMES)):
        stream = get_frame(data.PixelData, index, number_of_frames=count)
        decoded, failed = judged(data, index)
        if not decoded and count == 1 and shutil.which("dcmdjpeg"):
            decoded = by_dcmdjpeg(path)
        if not decoded:
            wrong.append(f"{name}: no judge decodes it: {failed}")
            continue
        judge, array = next(iter(decoded.items()))
        exact = syntax not in LOSSY
        # Half the colour, or a quarter of it: how it is spread is the decoder's.
        subsampled = syntax in JPEG and data.SamplesPerPixel == 3 and is_subsampled(stream)
        bounds = {"most": 0 if exact else 255 if subsampled else 2, "mean": 0 if exact else 2}
        for other, its in decoded.items():
            if exact and not numpy.array_equal(its, array):
                print(f"{name}: {judge} and {other} differ", file=sys.stderr)
        write(out, f"{name}-{index}", syntax, data, stream, array, bounds, counts)
    return wrong


def judged(data, index):
    """What each judge makes of a frame, colours of JPEG as RGB."""
    syntax = UID(data.file_meta.TransferSyntaxUID)
    decoder, found, failed = get_decoder(syntax), {}, []
    for plugin in PLUGINS:
        if plugin not in decoder.available_plugins:
            continue
        try:
            options = {"as_rgb": True} if str(syntax) in JPEG else {"raw": True}
            found[plugin] = decoder.as_array(data, index=index, decoding_plugin=plugin, **options)[0]
        except Exception as error:
            failed.append(f"{plugin}: {error}")
    return found, failed


def by_dcmdjpeg(path):
    """DCMTK forgives what pydicom's decoders do not."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = pathlib.Path(folder, "unpacked.dcm")
        ran = subprocess.run(["dcmdjpeg", "+cn", path, unpacked], capture_output=True)
        return {"dcmdjpeg": pydicom.dcmread(unpacked).pixel_array} if ran.returncode == 0 else {}


def is_subsampled(stream):
    at = 2
    while stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):
            return any(stream[at + 11 + 3 * n] != 0x11 for n in range(stream[at + 9]))
        at += 2 + length
    return False


def write(out, name, syntax, data, stream, array, bounds, counts):
    said = {
        "syntax": syntax, "rows": data.Rows, "columns": data.Columns, "samples": data.SamplesPerPixel,
        "bits_allocated": data.BitsAllocated, "bits_stored": data.BitsStored, "high_bit": data.HighBit,
        "signed": data.PixelRepresentation == 1, "photometric": data.PhotometricInterpretation, **bounds,
    }
    raw = numpy.ascontiguousarray(array).astype(f"<u{data.BitsAllocated // 8}", casting="unsafe").tobytes()
    (out / f"{name}.json").write_text(json.dumps(said))
    (out / f"{name}.stream").write_bytes(stream)
    (out / f"{name}.raw").write_bytes(raw)
    counts[syntax] = counts.get(syntax, 0) + 1


def image(rows, columns, samples, bits, signed=False):
    """Slopes, edges and some noise."""
    random = numpy.random.default_rng(7)
    y, x = numpy.mgrid[0:rows, 0:columns]
    planes = [(x * (3 + n) + y * (5 - n) + 40 * ((x // 9 + y // 7) % 2)) * (1 << bits) // 500 for n in range(samples)]
    array = numpy.stack(planes, axis=-1) + random.integers(0, max(2, (1 << bits) // 64), (rows, columns, samples))
    array = array % (1 << bits) - ((1 << bits - 1) if signed else 0)
    kind = ("i" if signed else "u") + ("1" if bits <= 8 else "2")
    return numpy.squeeze(array, axis=-1).astype(kind) if samples == 1 else array.astype(kind)


def described(array, bits, photometric, signed=False):
    data = Dataset()
    data.Rows, data.Columns = array.shape[:2]
    data.SamplesPerPixel = 3 if array.ndim == 3 else 1
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * array.itemsize, bits, bits - 1
    data.PixelRepresentation, data.PhotometricInterpretation = int(signed), photometric
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    return data


def made(out, counts):
    exact = {"most": 0, "mean": 0}
    greys = [(8, 8, False), (12, 12, False), (16, 16, False), (10, 10, False), (16, 16, True)]

    def put(name, syntax, array, bits, photometric, stream, signed=False, bounds=exact):
        data = described(array, bits, photometric, signed)
        write(out, name, syntax, data, bytes(stream), array, bounds, counts)

    try:
        import jpeg_ls
        for bits, _, signed in greys:
            if not signed:
                array = image(61, 83, 1, bits)
                put(f"made-jls-{bits}", f"{BASE}.4.80", array, bits, "MONOCHROME2", jpeg_ls.encode_array(array))
        array = image(61, 83, 3, 8)
        for mode in (0, 1, 2):
            planes = numpy.ascontiguousarray(array.transpose(2, 0, 1)) if mode == 0 else array
            stream = jpeg_ls.encode_array(planes, interleave_mode=mode)
            put(f"made-jls-rgb-{mode}", f"{BASE}.4.80", array, 8, "RGB", stream)
        stream = jpeg_ls.encode_array(array, lossy_error=2, interleave_mode=2)
        put("made-jls-near", f"{BASE}.4.81", array, 8, "RGB", stream, bounds={"most": 2, "mean": 2})
    except ImportError as error:
        print(error, file=sys.stderr)
    try:
        from openjpeg.utils import encode_array
        for bits, _, signed in greys:
            array = image(61, 83, 1, bits, signed)
            stream = encode_array(array, bits_stored=bits, codec_format=0)
            put(f"made-j2k-{bits}-{signed}", f"{BASE}.4.90", array, bits, "MONOCHROME2", stream, signed)
        array = image(61, 83, 3, 8)
        for mct, photometric in ((True, "YBR_RCT"), (False, "RGB")):
            stream = encode_array(array, photometric_interpretation=1, use_mct=mct, codec_format=0)
            put(f"made-j2k-rgb-{mct}", f"{BASE}.4.90", array, 8, photometric, stream)
        data = described(array, 8, "YBR_ICT")
        stream = encode_array(array, photometric_interpretation=1, use_mct=True, compression_ratios=[4], codec_format=0)
        its = decoded_by("pylibjpeg", data, f"{BASE}.4.91", stream)
        write(out, "made-j2k-ict", f"{BASE}.4.91", data, stream, its, {"most": 2, "mean": 2}, counts)
    except ImportError as error:
        print(error, file=sys.stderr)
    try:
        import imagecodecs
        for bits, _, signed in greys:
            array = image(61, 83, 1, bits, signed)
            stream = imagecodecs.htj2k_encode(array, reversible=True)
            put(f"made-htj2k-{bits}-{signed}", f"{BASE}.4.201", array, bits, "MONOCHROME2", stream, signed)
        array = image(61, 83, 3, 8)
        for rgb, photometric in ((True, "YBR_RCT"), (False, "RGB")):
            stream = imagecodecs.htj2k_encode(array, reversible=True, rgb=rgb)
            put(f"made-htj2k-rgb-{rgb}", f"{BASE}.4.202", array, 8, photometric, stream)
    except ImportError as error:
        print(error, file=sys.stderr)


def by_dcmtk(out, files, counts):
    """DCMTK's JPEG of real native files, read back by DCMTK itself."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        packed, unpacked = pathlib.Path(folder, "packed.dcm"), pathlib.Path(folder, "unpacked.dcm")
        for name, flags in [
            ("CT_small.dcm", ["+e1"]), ("CT_small.dcm", ["+el", "+sv", "4"]), ("CT_small.dcm", ["+el", "+sv", "7"]),
            ("MR_small.dcm", ["+e1"]), ("MR_small.dcm", ["+el", "+sv", "6"]),
            ("examples_rgb_color.dcm", ["+e1"]), ("examples_rgb_color.dcm", ["+el", "+sv", "5"]),
            ("examples_rgb_color.dcm", ["+eb", "+cy", "+s4"]), ("examples_rgb_color.dcm", ["+eb", "+cy", "+s2"]),
            ("examples_overlay.dcm", ["+ee"]), ("examples_palette.dcm", ["+e1"]),
        ]:
            source = next(files.rglob(name))
            made = subprocess.run(["dcmcjpeg", "+ua", *flags, source, packed], capture_output=True, text=True)
            if made.returncode != 0:
                wrong.append(f"dcmcjpeg {flags} {name}: {made.stderr}")
                continue
            data = pydicom.dcmread(packed)
            syntax = str(data.file_meta.TransferSyntaxUID)
            turn = ["+cp"] if data.PhotometricInterpretation.startswith("YBR") else ["+cn"]
            subprocess.run(["dcmdjpeg", *turn, packed, unpacked], check=True, capture_output=True)
            array = pydicom.dcmread(unpacked).pixel_array
            count = int(data.get("NumberOfFrames", 1))
            stream = get_frame(data.PixelData, 0, number_of_frames=count)
            subsampled = data.SamplesPerPixel == 3 and is_subsampled(stream)
            exact = syntax not in LOSSY
            bounds = {"most": 0 if exact else 255 if subsampled else 2, "mean": 0 if exact else 2}
            first = array[0] if count > 1 else array
            write(out, f"dcmtk-{name}-{''.join(flags)}", syntax, data, stream, first, bounds, counts)
    return wrong


def decoded_by(plugin, data, syntax, stream):
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.PixelData = encapsulate([stream])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.NumberOfFrames = 1
    return get_decoder(UID(syntax)).as_array(data, index=0, raw=True, decoding_plugin=plugin)[0]


def check(out):
    counts, wrong = {}, []
    for path in sorted(out.glob("*.encoded")):
        name, syntax = path.name.removesuffix(".encoded").split("@")
        said = json.loads((out / f"{name}@{syntax}.json").read_text())
        data = Dataset()
        data.Rows, data.Columns, data.SamplesPerPixel = said["rows"], said["columns"], said["samples"]
        data.BitsAllocated, data.BitsStored, data.HighBit = said["bits_allocated"], said["bits_stored"], said["high_bit"]
        data.PixelRepresentation, data.PhotometricInterpretation = int(said["signed"]), said["photometric"]
        if data.SamplesPerPixel == 3:
            data.PlanarConfiguration = 0
        expected = (out / f"{name}.decoded").read_bytes()
        plugins = [p for p in PLUGINS if p in get_decoder(UID(syntax)).available_plugins and p != "pillow"]
        for plugin in plugins:
            try:
                array = decoded_by(plugin, data, syntax, path.read_bytes())
            except Exception as error:
                wrong.append(f"{path.name}: {plugin}: {error}")
                continue
            its = numpy.ascontiguousarray(array).astype(f"<u{data.BitsAllocated // 8}", casting="unsafe").tobytes()
            counts[f"{syntax} {plugin}"] = counts.get(f"{syntax} {plugin}", 0) + 1
            if its != expected:
                wrong.append(f"{path.name}: {plugin} reads other samples")
    print(json.dumps(counts))
    return wrong


if __name__ == "__main__":
    faults = main(sys.argv[1:])
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(bool(faults))
