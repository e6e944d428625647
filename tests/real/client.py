#!/usr/bin/env python3
"""The Python package dicomweb-client against a running archive: client.py BASE_URL FOLDER

BASE_URL ends in the version (http://127.0.0.1:8080/v2); FOLDER holds the tutorial's three instances
(fixtures/dicom). The archive must not hold their study yet. Stores, searches, retrieves and deletes with
nothing but the package's own calls, and compares each answer with the files. Exit code 0 when all is right.
"""
import pathlib
import sys
import warnings

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

STUDY = "1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420"
SERIES_OF_TWO = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652"


def main(base, folder):
    warnings.filterwarnings("ignore", module="pydicom")
    files = {name: pydicom.dcmread(folder / f"{name}.dcm") for name in ("red-triangle", "green-square", "blue-circle")}
    red, green, blue = files.values()
    assert {file.StudyInstanceUID for file in files.values()} == {STUDY}
    assert red.SeriesInstanceUID == green.SeriesInstanceUID == SERIES_OF_TWO != blue.SeriesInstanceUID

    client = DICOMwebClient(url=base)
    store(client, red, green, blue)
    search(client, red, green, blue)
    metadata(client, red, green, blue)
    fetched = sum(bulk_data(client, base, file) for file in files.values())
    retrieve(client, red, green, blue)
    delete(client, red, green, blue)
    print(f"dicomweb-client: stored, found, retrieved and deleted; bulk data of {fetched}")


def uids(found, tag="00080018"):
    return sorted(item[tag]["Value"][0] for item in found)


def sops(*files):
    return sorted(str(file.SOPInstanceUID) for file in files)


def store(client, red, green, blue):
    answer = client.store_instances([red, green])
    assert sops_of(answer.ReferencedSOPSequence) == sops(red, green), answer
    assert "FailedSOPSequence" not in answer, answer

    answer = client.store_instances([blue], study_instance_uid=STUDY)
    assert sops_of(answer.ReferencedSOPSequence) == sops(blue), answer
    assert answer.RetrieveURL.endswith(f"/studies/{STUDY}"), answer

    # What is there stays as it is: nothing of this request is stored, which is an error.
    assert status_of(client.store_instances, [red]) == 409
    assert sops_of(client.store_instances([other(red)]).ReferencedSOPSequence) != sops(red)
    client.delete_study("2.25.1")


def other(file):
    """The same image under other UIDs."""
    copy = pydicom.dcmread(file.filename)
    copy.StudyInstanceUID, copy.SeriesInstanceUID, copy.SOPInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    return copy


def sops_of(sequence):
    return sorted(str(item.ReferencedSOPInstanceUID) for item in sequence)


def search(client, red, green, blue):
    assert uids(client.search_for_studies(search_filters={"StudyInstanceUID": STUDY}), "0020000D") == [STUDY]
    assert uids(client.search_for_studies(search_filters={"PatientID": red.PatientID}), "0020000D") == [STUDY]
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    assert len(client.search_for_studies(search_filters={"StudyInstanceUID": STUDY}, fields=["StudyDescription"], limit=1, offset=0)) == 1
    assert client.search_for_studies(search_filters={"StudyInstanceUID": STUDY}, limit=1, offset=1) == []
    fields = ["StudyDescription", "NumberOfStudyRelatedSeries", "RetrieveURL"]
    told = client.search_for_studies(search_filters={"PatientID": red.PatientID}, fields=fields)[0]
    assert told["00081030"]["Value"] == [red.StudyDescription] and told["00201206"]["Value"] == [2], told
    assert told["00081190"]["Value"][0].endswith(f"/studies/{STUDY}"), told
    family = str(red.PatientName.family_name)
    for filters, fuzzy in [
        ({"PatientName": f"*{family[1:].upper()}*"}, True),
        ({"PatientName": f"{family[:3].lower()}*"}, None),
        ({"PatientName": family[:3].lower()}, True),
        ({"StudyInstanceUID": f"{STUDY},2.25.9"}, None),
        ({"StudyInstanceUID": f"2.25.9\\\\{STUDY}"}, None),
        ({"ModalitiesInStudy": f"{red.Modality}\\CT"}, None),
        ({"StudyDate": red.StudyDate, "PatientID": red.PatientID.lower()}, None),
    ]:
        found = client.search_for_studies(search_filters=filters, fuzzymatching=fuzzy)
        assert uids(found, "0020000D") == [STUDY], (filters, found)

    both = sorted([SERIES_OF_TWO, str(blue.SeriesInstanceUID)])
    assert uids(client.search_for_series(study_instance_uid=STUDY), "0020000E") == both
    assert uids(client.search_for_series(search_filters={"SeriesInstanceUID": SERIES_OF_TWO}), "0020000E") == [SERIES_OF_TWO]

    assert uids(client.search_for_instances(study_instance_uid=STUDY)) == sops(red, green, blue)
    assert uids(client.search_for_instances(study_instance_uid=STUDY, series_instance_uid=SERIES_OF_TWO)) == sops(red, green)
    assert uids(client.search_for_instances(search_filters={"SOPInstanceUID": str(red.SOPInstanceUID)})) == sops(red)
    all_pages = client.search_for_instances(study_instance_uid=STUDY, limit=2, get_remaining=True)
    assert uids(all_pages) == sops(red, green, blue)


def metadata(client, red, green, blue):
    assert uids(client.retrieve_study_metadata(STUDY)) == sops(red, green, blue)
    assert uids(client.retrieve_series_metadata(STUDY, SERIES_OF_TWO)) == sops(red, green)
    for file in (red, green, blue):
        answer = Dataset.from_json(client.retrieve_instance_metadata(*path(file)))
        expected = {element.tag: element.value for element in file if element.tag != 0x7FE00010}
        assert {element.tag: element.value for element in answer if element.tag != 0x7FE00010} == expected


def bulk_data(client, base, file):
    """Fetches the pixels as bulk data where metadata say where they are; answers how often."""
    address = client.retrieve_instance_metadata(*path(file)).get("7FE00010", {}).get("BulkDataURI")
    if address is None:
        return 0
    # The package leaves the port out of `Host`, so the archive cannot know it.
    address = base + address[address.index("/studies/") :]
    assert client.retrieve_bulkdata(address) == [file.PixelData]
    return 1


def path(file):
    return str(file.StudyInstanceUID), str(file.SeriesInstanceUID), str(file.SOPInstanceUID)


def retrieve(client, red, green, blue):
    same(client.retrieve_study(STUDY), red, green, blue)
    same(client.iter_study(STUDY), red, green, blue)
    same(client.retrieve_series(STUDY, SERIES_OF_TWO), red, green)
    as_stored = (("application/dicom", "*"),)
    for file in (red, green, blue):
        same([client.retrieve_instance(*path(file))], file)
        same([client.retrieve_instance(*path(file), media_types=as_stored)], file)
        length = file.Rows * file.Columns * file.SamplesPerPixel
        frame = file.PixelData[:length]
        assert client.retrieve_instance_frames(*path(file), frame_numbers=[1])[0][:length] == frame
        octets = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
        assert client.retrieve_instance_frames(*path(file), frame_numbers=[1], media_types=octets)[0][:length] == frame
    assert status_of(client.retrieve_instance_frames, *path(red), frame_numbers=[2]) == 404
    assert status_of(client.retrieve_study, "2.25.4") == 404


def same(answers, *files):
    answers = {str(answer.SOPInstanceUID): answer for answer in answers}
    assert sorted(answers) == sops(*files)
    for file in files:
        answer = answers[str(file.SOPInstanceUID)]
        assert answer == file and answer.PixelData == file.PixelData
        assert answer.file_meta.TransferSyntaxUID == file.file_meta.TransferSyntaxUID


def delete(client, red, green, blue):
    client.delete_instance(*path(red))
    assert uids(client.search_for_instances(study_instance_uid=STUDY)) == sops(green, blue)
    assert status_of(client.retrieve_instance, *path(red)) == 404
    client.delete_series(STUDY, SERIES_OF_TWO)
    assert uids(client.search_for_instances(study_instance_uid=STUDY)) == sops(blue)
    client.delete_study(STUDY)
    assert client.search_for_studies(search_filters={"StudyInstanceUID": STUDY}) == []
    assert status_of(client.delete_study, STUDY) == 404


def status_of(call, *arguments, **options):
    """The status of a call that must fail."""
    try:
        call(*arguments, **options)
    except requests.HTTPError as error:
        return error.response.status_code
    raise AssertionError(f"{call.__name__} did not fail")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), pathlib.Path(sys.argv[2]))
