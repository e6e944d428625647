#!/usr/bin/env python3
"""Writes the value multiplicity of each standard element to standard output, from pydicom's dictionary (PS3.6).

    python schemas/value-multiplicity.py > schemas/value-multiplicity.tsv

pydicom is the one pinned in tests/real/requirements.txt. A test runs this and compares.
"""
import itertools
import textwrap

import pydicom
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

HEADER = f"""\
# Value multiplicity of the standard elements (PS3.6), made by value-multiplicity.py from pydicom {pydicom.__version__}.
# Columns: multiplicity, group, elements; hexadecimal. a-b: every number from a to b; x: any digit (then no ranges)."""


def rows():
    """(multiplicity, group, elements), one for each multiplicity of each group."""
    exact = {f"{tag:08x}": entry[1] for tag, entry in DicomDictionary.items()}
    repeating = {pattern.lower(): entry[1] for pattern, entry in RepeatersDictionary.items()}
    assert not exact.keys() & repeating.keys()
    found = {}
    for tag, multiplicity in sorted((exact | repeating).items()):
        group, element = tag[:4], tag[4:]
        assert "x" in group or int(group, 16) % 2 == 0, f"{tag} is private"
        found.setdefault((group, multiplicity), []).append(element)
    for (group, multiplicity), elements in sorted(found.items()):
        yield multiplicity, group, elements if "x" in group else list(ranges(elements))


def ranges(elements):
    """Elements that follow each other without a gap, as one."""
    plain = [element for element in elements if "x" not in element]
    by_distance = itertools.groupby(enumerate(plain), lambda pair: int(pair[1], 16) - pair[0])
    for _, run in by_distance:
        run = [element for _, element in run]
        yield run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}"
    yield from (element for element in elements if "x" in element)


def main():
    print(HEADER)
    for multiplicity, group, elements in rows():
        for line in textwrap.wrap(" ".join(elements), 100, break_on_hyphens=False):
            print(multiplicity, group, line, sep="\t")


if __name__ == "__main__":
    main()
