#!/usr/bin/env python3
"""wsidicom reading slides of two levels, JPEG 2000 lossless, JPEG baseline and native: slides.py BASE_URL

Makes the slides, stores them and opens each as wsidicom does by itself, as it does with an archive that does not say
what is available (it then asks for one syntax after the other and takes 406 for "not offered"), and with syntaxes
asked for by name. Whatever comes of a lossless slide must be its pixels, and no answer may hold a lossy syntax; the
lossy one must come as it is stored, or encoded without further loss. Prints what came; exit code 0 when nothing is
wrong."""
import io
import json
import re
import sys

import numpy
import requests
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSNearLossless,
    VLWholeSlideMicroscopyImageStorage,
)
from wsidicom import WsiDicom
from wsidicom.errors import WsiDicomNotFoundError
from wsidicom.web.wsidicom_web_client import WsiDicomWebClient

ROOT = "2.25.10806"
TILE, LEVELS = 128, (512, 256)
LOSSY = {JPEGBaseline8Bit, JPEG2000, JPEGLSNearLossless}
PHOTOMETRIC = {JPEG2000Lossless: "YBR_RCT", JPEGBaseline8Bit: "YBR_FULL_422", ExplicitVRLittleEndian: "RGB"}
DICOM = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


def picture(side):
    """Tissue, as far as a codec can tell: shades with grain."""
    y, x = numpy.mgrid[0:side, 0:side] * (512 // side)
    grain = numpy.random.default_rng(7).integers(0, 12, (side, side, 3))
    shades = numpy.stack([(x + y) // 5, 120 + 60 * numpy.sin(x / 40), 255 - (x * y) // 2000 % 200], axis=2)
    return numpy.clip(shades + grain, 0, 255).astype("uint8")


def tiles(image):
    for row in range(0, len(image), TILE):
        for column in range(0, len(image), TILE):
            yield Image.fromarray(image[row : row + TILE, column : column + TILE])


def encoded(tile, syntax):
    out = io.BytesIO()
    if syntax == ExplicitVRLittleEndian:
        return tile.tobytes()
    if syntax == JPEG2000Lossless:
        tile.save(out, format="JPEG2000", irreversible=False, mct=1, no_jp2=True)
    else:
        tile.save(out, format="JPEG", quality=90, subsampling="4:2:0")
    return out.getvalue()


def level(number, side, syntax, slide):
    file = Dataset()
    file.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    file.StudyInstanceUID, file.SeriesInstanceUID = f"{ROOT}.{slide}", f"{ROOT}.{slide}.1"
    file.SOPInstanceUID = f"{ROOT}.{slide}.1.{number}"
    file.FrameOfReferenceUID = f"{ROOT}.{slide}.2"
    file.PatientID, file.PatientName = f"SLIDE{slide}", "Slide^Whole"
    file.PatientBirthDate = file.PatientSex = file.AccessionNumber = file.StudyID = file.ReferringPhysicianName = ""
    file.StudyDate = file.SeriesDate = file.ContentDate = "20260101"
    file.StudyTime = file.SeriesTime = file.ContentTime = "120000"
    file.AcquisitionDateTime = "20260101120000"
    file.Modality, file.SeriesNumber, file.InstanceNumber = "SM", 1, number
    file.Manufacturer, file.ManufacturerModelName = "Kymo", "Slides"
    file.DeviceSerialNumber = file.SoftwareVersions = "1"
    file.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"] if number == 1 else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    file.ContainerIdentifier, file.VolumetricProperties, file.BurnedInAnnotation = "C", "VOLUME", "NO"
    file.SpecimenLabelInImage, file.FocusMethod, file.ExtendedDepthOfField = "NO", "AUTO", "NO"
    file.PositionReferenceIndicator = "SLIDE_CORNER"
    file.DimensionOrganizationType = "TILED_FULL"
    file.TotalPixelMatrixColumns = file.TotalPixelMatrixRows = side
    file.TotalPixelMatrixFocalPlanes = file.NumberOfOpticalPaths = 1
    file.ImagedVolumeWidth = file.ImagedVolumeHeight = 0.512
    file.ImagedVolumeDepth = 1.0
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = "0"
    file.TotalPixelMatrixOriginSequence = [origin]
    file.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.512 / side] * 2, 0.001
    shared.PixelMeasuresSequence = [measures]
    file.SharedFunctionalGroupsSequence = [shared]
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.IlluminationColorCodeSequence, path.IlluminationTypeCodeSequence = [], []
    file.OpticalPathSequence = [path]
    file.Rows = file.Columns = TILE
    file.SamplesPerPixel, file.PlanarConfiguration = 3, 0
    file.PhotometricInterpretation = PHOTOMETRIC[syntax]
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    frames = [encoded(tile, syntax) for tile in tiles(picture(side))]
    file.NumberOfFrames = len(frames)
    file.LossyImageCompression = "01" if syntax == JPEGBaseline8Bit else "00"
    if syntax == JPEGBaseline8Bit:
        file.LossyImageCompressionRatio, file.LossyImageCompressionMethod = "10", "ISO_10918_1"
    file.PixelData = b"".join(frames) if syntax == ExplicitVRLittleEndian else encapsulate(frames)
    file["PixelData"].VR = "OB"
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    return file, frames


class Recorded(requests.Session):
    """Keeps the syntax of every part that comes."""

    def __init__(self):
        super().__init__()
        self.came, self.refused = [], 0
        self.hooks["response"].append(self.keep)

    def keep(self, answer, *_, **__):
        if "/frames/" in answer.url:
            self.refused += answer.status_code == 406
            if answer.status_code == 200:
                self.came += re.findall(rb"transfer-syntax=([0-9.]+)", answer.content)


class Blind(WsiDicomWebClient):
    """A client of an archive that does not say which syntaxes are available."""

    def get_wsi_instances(self, *arguments):
        return ((series, instance, None) for series, instance, _ in super().get_wsi_instances(*arguments))


def read(base, slide, kind=WsiDicomWebClient, wanted=None):
    """Both levels as wsidicom shows them; the syntax it has chosen, those that came, and how many were refused."""
    session = Recorded()
    client = kind.create_client(base, auth=session)
    try:
        opened = WsiDicom.open_web(client, f"{ROOT}.{slide}", f"{ROOT}.{slide}.1", wanted)
    except WsiDicomNotFoundError:
        return None, None, set(session.came), session.refused
    with opened:
        shown = []
        for number, side in enumerate(LEVELS):
            image = opened.read_region((0, 0), opened.pyramids[0][number].level, (side, side))
            shown.append(numpy.asarray(image.convert("RGB")).astype(int))
        chosen = {str(instance.image_data.transfer_syntax) for group in opened.pyramids[0] for instance in group.instances.values()}
    return shown, chosen, {came.decode() for came in session.came}, session.refused


def main(base):
    made = {}
    for slide, syntax in ((1, JPEG2000Lossless), (2, JPEGBaseline8Bit), (3, ExplicitVRLittleEndian)):
        for number, side in enumerate(LEVELS, 1):
            file, frames = level(number, side, syntax, slide)
            out = io.BytesIO()
            file.save_as(out, enforce_file_format=True)
            answer = requests.post(f"{base}/studies", out.getvalue(), headers=DICOM)
            assert answer.status_code in (200, 202), answer.text
            made[slide, number] = frames
    said = {}
    # Of what is lossless: exact, and no lossy syntax ever comes. The native slide is asked for only by a client that is
    # not told what there is: wsidicom 0.36 does not decode native frames.
    for slide, name, kind, wanted, chosen in (
        (1, "by itself", WsiDicomWebClient, None, JPEG2000Lossless),
        (1, "not told what there is", Blind, None, JPEG2000Lossless),
        (1, "lossy first", WsiDicomWebClient, [JPEGBaseline8Bit, JPEG2000, JPEG2000Lossless], JPEG2000Lossless),
        (1, "lossy only", WsiDicomWebClient, sorted(LOSSY), None),
        (1, "lossy only, not told", Blind, sorted(LOSSY), None),
        (3, "not told what there is", Blind, None, JPEG2000Lossless),
        (3, "lossy only", WsiDicomWebClient, sorted(LOSSY), None),
    ):
        shown, syntaxes, came, refused = read(base, slide, kind, wanted)
        assert not came & LOSSY, (name, came)
        said[f"{PHOTOMETRIC[JPEG2000Lossless if slide == 1 else ExplicitVRLittleEndian]}, {name}"] = sorted(came), refused
        if chosen is None:
            # Told what there is, it does not even ask.
            assert shown is None and not came and (refused or kind is WsiDicomWebClient), (name, came, refused)
            continue
        assert syntaxes == {chosen} and came == {chosen}, (name, syntaxes, came)
        for side, image in zip(LEVELS, shown):
            assert numpy.array_equal(image, picture(side)), name
    # Of the lossy one: as it is stored, tile for tile; encoded only where that is asked for.
    stored = [numpy.asarray(stitched(made[2, number], side)).astype(int) for number, side in enumerate(LEVELS, 1)]
    for name, kind, wanted, chosen in (
        ("by itself", WsiDicomWebClient, None, JPEGBaseline8Bit),
        ("not told what there is", Blind, None, JPEGBaseline8Bit),
        ("JPEG 2000", Blind, [JPEG2000, JPEG2000Lossless], JPEG2000Lossless),
    ):
        shown, syntaxes, came, refused = read(base, 2, kind, wanted)
        assert syntaxes == {chosen} and came == {chosen}, (name, syntaxes, came)
        said[f"JPEG, {name}"] = sorted(came), refused
        for image, wanted_image in zip(shown, stored):
            off = numpy.abs(image - wanted_image)
            assert off.max() == 0 if chosen == JPEGBaseline8Bit else off.mean() <= 2, (name, off.max(), off.mean())
    print(json.dumps(said))


def stitched(frames, side):
    whole = Image.new("RGB", (side, side))
    for number, frame in enumerate(frames):
        across = side // TILE
        whole.paste(Image.open(io.BytesIO(frame)), (number % across * TILE, number // across * TILE))
    return whole


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
