#!/usr/bin/env python3
"""What highdicom makes of an image, through a running archive and back: derived.py BASE_URL

A segmentation of a CT and a structured report that measures it are stored beside the CT, found, retrieved and
read again with highdicom. BASE_URL ends in the version. Exit code 0 when nothing has changed on the way."""
import sys
import warnings
from io import BytesIO

import highdicom as hd
import numpy as np
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

ALGORITHM = hd.AlgorithmIdentificationSequence(name="threshold", version="1", family=codes.cid7162.ArtificialIntelligence)
SLICES = 4


def main(base):
    warnings.filterwarnings("ignore")
    client = DICOMwebClient(url=base)
    images = slices()
    study = images[0].StudyInstanceUID
    assert "FailedSOPSequence" not in client.store_instances(images)
    mask = np.stack([image.pixel_array > 1200 for image in images])
    made = {"SEG": segmentation(images, mask), "SR": report(images)}
    for modality, file in made.items():
        answer = client.store_instances([file])
        assert "FailedSOPSequence" not in answer, answer
        found = client.search_for_series(study_instance_uid=study, search_filters={"Modality": modality})
        assert [row["0020000E"]["Value"][0] for row in found] == [file.SeriesInstanceUID], found
        path = (study, file.SeriesInstanceUID, file.SOPInstanceUID)
        back = client.retrieve_instance(*path, media_types=(("application/dicom", "*"),))
        assert written(back) == written(file), f"{modality} has changed"
        described(Dataset.from_json(client.retrieve_instance_metadata(*path)), back)
    segmented(client, made["SEG"], mask)
    reported(client, made["SR"])
    client.delete_study(study)
    print("highdicom: a segmentation and a report, stored and read back")


def slices():
    images = []
    for number in range(1, SLICES + 1):
        image = dcmread(get_testdata_file("CT_small.dcm"))
        image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.10802", "2.25.10802.1"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.10802.1.{number}"
        image.InstanceNumber = number
        image.ImagePositionPatient = [-158.1, -179.0, 5 * number]
        images.append(image)
    return images


def segmentation(images, mask):
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=1, segment_label="bone", segmented_property_category=codes.SCT.Tissue,
                segmented_property_type=codes.SCT.Bone, algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=ALGORITHM,
            )
        ],
        series_instance_uid="2.25.10802.2", series_number=2, sop_instance_uid="2.25.10802.2.1", instance_number=1,
        manufacturer="Kymo", manufacturer_model_name="test", software_versions="1", device_serial_number="1",
        omit_empty_frames=False,
    )


def report(images):
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Person, observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name="Reader^First")
    )
    region = hd.sr.ImageRegion3D(
        graphic_type=hd.sr.GraphicTypeValues3D.POLYGON,
        graphic_data=np.array([(-150.0, -170.0, 5.0), (-140.0, -170.0, 5.0), (-140.0, -160.0, 5.0), (-150.0, -170.0, 5.0)]),
        frame_of_reference_uid=images[0].FrameOfReferenceUID,
    )
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid="2.25.10802.9", identifier="first"),
        referenced_region=region,
        finding_type=codes.SCT.Bone,
        measurements=[hd.sr.Measurement(name=codes.SCT.AreaOfDefinedRegion, value=42.0, unit=codes.UCUM.SquareMillimeter)],
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
    )
    return hd.sr.Comprehensive3DSR(
        evidence=images, content=content, series_instance_uid="2.25.10802.3", series_number=3,
        sop_instance_uid="2.25.10802.3.1", instance_number=1, manufacturer="Kymo", is_complete=True,
    )


def written(file):
    """The dataset alone: file meta information may say who has written it."""
    kept = BytesIO()
    dcmwrite(kept, Dataset(file), implicit_vr=False, little_endian=True)
    return kept.getvalue()


BULK = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}


def described(metadata, file):
    """Everything of the file but bulk data stands in its metadata, item by item."""
    for element in file:
        if element.VR in BULK or element.VR == "OB or OW":
            continue
        assert element.tag in metadata, element.tag
        if element.VR == "SQ":
            assert len(metadata[element.tag].value) == len(element.value), element.tag
            for ours, theirs in zip(metadata[element.tag].value, element.value):
                described(ours, theirs)
        else:
            assert metadata[element.tag].value == element.value, element.tag


def segmented(client, file, mask):
    path = (file.StudyInstanceUID, file.SeriesInstanceUID, file.SOPInstanceUID)
    kept = BytesIO()
    client.retrieve_instance(*path, media_types=(("application/dicom", "*"),)).save_as(kept)
    back = hd.seg.segread(BytesIO(kept.getvalue()))
    source = [f"2.25.10802.1.{number}" for number in range(1, SLICES + 1)]
    pixels = back.get_pixels_by_source_instance(source_sop_instance_uids=source, segment_numbers=[1])
    assert np.array_equal(pixels[..., 0].astype(bool), mask)
    frame = mask.shape[1] * mask.shape[2] // 8
    frames = client.retrieve_instance_frames(*path, frame_numbers=[3, 1])
    assert [bytes(one) for one in frames] == [file.PixelData[2 * frame : 3 * frame], file.PixelData[:frame]]


def reported(client, file):
    kept = BytesIO()
    path = (file.StudyInstanceUID, file.SeriesInstanceUID, file.SOPInstanceUID)
    client.retrieve_instance(*path, media_types=(("application/dicom", "*"),)).save_as(kept)
    back = hd.sr.srread(BytesIO(kept.getvalue()))
    groups = back.content.get_planar_roi_measurement_groups(tracking_uid="2.25.10802.9")
    assert [measurement.value for group in groups for measurement in group.get_measurements()] == [42.0]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"))
