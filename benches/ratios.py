#!/usr/bin/env python3
"""The table of `compare`, from the JSON lines of `dwload compare`: ratios.py FILE.jsonl

A is Kymo, B the peer. CPU and memory are of the server; CPU a request is the median of the rounds, memory
the highest seen. A ratio that misses what it must reach, or what is wanted, says so; of the CPU a request takes
at most CPU_WANTED of the peer's is wanted when reading, CPU_OF_PIXELS when pixels are worked on."""
import json
import statistics
import sys

CPU_WANTED = 0.6
CPU_OF_PIXELS = 0.8
# (profile, scenario): what it is called, the ratio of requests a second it must reach, the one wanted
ROWS = {
    ("tiny", "store"): ("store, 10 KB instance", None, 3.0),
    ("ct", "store"): ("store, CT of 526 KB", 1.0, 1.5),
    ("ct", "wado-instance"): ("retrieve, CT instance", 1.5, 2.5),
    ("ct", "wado-frame"): ("retrieve, CT frame", None, 1.6),
    ("ct", "wado-study"): ("retrieve, whole CT study", None, 1.6),
    ("ct", "wado-metadata-study"): ("metadata of a CT study", 2.0, 6.0),
    ("ct", "wado-rendered"): ("rendered CT, JPEG", None, 1.2),
    ("tiny", "qido-study-by-patientid"): ("search by PatientID", None, 10.0),
    ("tiny", "qido-date-range"): ("search by StudyDate range", None, 10.0),
    ("tiny", "qido-patientname-prefix"): ("search by beginning of a name", None, 10.0),
    ("tiny", "qido-page"): ("page of 50 studies", None, 10.0),
    ("tiny", "qido-instances-in-series"): ("instances of a series", None, 5.0),
}


def bound(value):
    return "" if value is None else f"≥ {value:g}×"


def shown(value):
    return "–" if value is None else f"{value:.2f}"


def verdict(median, must, wanted):
    if median is None:
        return "a run was too short for one answer"
    if must and median < must:
        return "missed"
    return "below what is wanted" if median < wanted else "reached"


def processor(ours, theirs, scenario):
    """CPU of a request on both sides, their ratio, and whether that is too much."""
    mine, other = median(ours, "server_cpu_ms_per_req"), median(theirs, "server_cpu_ms_per_req")
    share = mine / other if other else 0
    text = f"{mine:.2f} / {other:.2f} = **{share:.2f}**"
    wanted = CPU_OF_PIXELS if scenario == "wado-rendered" else CPU_WANTED
    return text, scenario != "store" and share > wanted


def median(rows, field):
    return statistics.median(row[field] for row in rows)


runs, ratios = {}, {}
for line in open(sys.argv[1], encoding="utf-8"):
    row = json.loads(line)
    key = (row["profile"], row["scenario"])
    if row["label"] == "A/B":
        ratios[key] = row
    else:
        runs.setdefault((*key, row["label"]), []).append(row)

print("| 8 clients | Kymo req/s | peer req/s | ratio min / median / max | must | wanted | CPU ms a request, Kymo / peer (reads: ≤ 0.6, pixels: ≤ 0.8) | Kymo RSS MB | wrong answers, Kymo / peer | |")
print("|---|---|---|---|---|---|---|---|---|---|")
for key, (name, must, wanted) in ROWS.items():
    if key not in ratios:
        continue
    ours, theirs, ratio = runs[(*key, "A")], runs[(*key, "B")], ratios[key]["req_per_s"]
    said = verdict(ratio["median"], must, wanted)
    if any(row["incomplete"] for row in theirs):
        said += "; the peer's answers are incomplete"
    if any(row["incomplete"] for row in ours):
        said += "; Kymo's answers are incomplete"
    cpu, too_much = processor(ours, theirs, key[1])
    if too_much:
        said += "; takes more CPU than is wanted"
    print(
        f'| {name} | {median(ours, "req_per_s"):.1f} | {median(theirs, "req_per_s"):.1f} '
        f'| {shown(ratio["min"])} / **{shown(ratio["median"])}** / {shown(ratio["max"])} | {bound(must)} | {bound(wanted)} '
        f'| {cpu} '
        f'| {max(row["server_rss_peak"] for row in ours) / 1e6:.0f} '
        f'| {ratios[key]["a_errors"]} / {ratios[key]["b_errors"]} | {said} |'
    )
