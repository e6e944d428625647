#!/usr/bin/env python3
"""Writes what a viewer is shown, made from pydicom's files: studies.py FOLDER

A series of CT slices, a palette-colour image, a PDF, and a series in each of several compressed syntaxes, each in a
study of its own. Prints a line of JSON: for each its UIDs and the name of its patient."""
import json
import pathlib
import sys

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

ROOT = "2.25.10801"
SLICES = 6
COPIES = 3
# Which the viewer decodes itself, by the name of the study.
COMPRESSED = {
    "rle": "MR_small_RLE.dcm",
    "jpeg-ls": "MR_small_jpeg_ls_lossless.dcm",
    "jpeg-2000": "MR_small_jp2klossless.dcm",
    "jpeg-2000-lossy": "JPEG2000.dcm",
    "jpeg": "examples_ybr_color.dcm",
    "jpeg-12-bit": "JPGExtended.dcm",
}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    made = {"slices": slices(), "palette": palette(), "document": document()}
    for study, (name, file) in enumerate(COMPRESSED.items(), len(made) + 1):
        made[name] = compressed(study, name, file)
    said = {}
    for name, files in made.items():
        for number, file in enumerate(files, 1):
            file.save_as(folder / f"{name}-{number}.dcm", enforce_file_format=True)
        first = files[0]
        said[name] = {
            "study": str(first.StudyInstanceUID),
            "series": str(first.SeriesInstanceUID),
            "instances": [str(file.SOPInstanceUID) for file in files],
            "patient": str(first.PatientName),
        }
    print(json.dumps(said))


def slices():
    """The same picture at rising places, as a scanner sends them."""
    files = []
    for number in range(1, SLICES + 1):
        file = named(dcmread(get_testdata_file("CT_small.dcm")), 1, number, "Slices^Six")
        file.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5 * number]
        file.SliceLocation = -75.7 + 5 * number
        file.SliceThickness = 5
        files.append(file)
    return files


def palette():
    return [named(dcmread(get_testdata_file("examples_palette.dcm")), 2, 1, "Palette^Colour")]


def compressed(study, name, file):
    """Copies at rising places; of an image of many frames one."""
    files = []
    for number in range(1, COPIES + 1):
        copy = named(dcmread(get_testdata_file(file)), study, number, f"Compressed^{name}")
        if "ImagePositionPatient" in copy:
            copy.ImagePositionPatient[2] += 5 * number
        files.append(copy)
    return files[:1] if files[0].get("NumberOfFrames", 1) > 1 else files


def document():
    file = Dataset()
    file.SOPClassUID = EncapsulatedPDFStorage
    file.StudyDate = file.ContentDate = "20260101"
    file.StudyTime = file.ContentTime = "120000"
    file.AcquisitionDateTime = "20260101120000"
    file.AccessionNumber = file.PatientBirthDate = file.PatientSex = file.StudyID = file.ReferringPhysicianName = ""
    file.Modality = "DOC"
    file.ConversionType = "WSD"
    file.Manufacturer = "Kymo"
    file.SeriesNumber = 1
    file.BurnedInAnnotation = "NO"
    file.DocumentTitle = "A page"
    file.ConceptNameCodeSequence = []
    file.EncapsulatedDocument = pdf("Read me")
    file.EncapsulatedDocumentLength = len(file.EncapsulatedDocument)
    file.EncapsulatedDocument += b"\0" * (len(file.EncapsulatedDocument) % 2)
    file.MIMETypeOfEncapsulatedDocument = "application/pdf"
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return [named(file, 3, 1, "Document^Portable")]


def pdf(words):
    """One page with large words on it."""
    text = f"BT /F1 72 Tf 100 400 Td ({words}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def named(file, study, number, patient):
    file.PatientName = patient
    file.PatientID = f"VIEWED{study}"
    file.StudyInstanceUID = f"{ROOT}.{study}"
    file.SeriesInstanceUID = f"{ROOT}.{study}.1"
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.{study}.1.{number}"
    file.InstanceNumber = number
    return file


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
