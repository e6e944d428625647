#!/usr/bin/env python3
"""The table of `scale`, from the JSON lines of `dwload run`: growth.py FILE.jsonl SMALL LARGE

Cost is the CPU of the server for one request, and the time of the median request; medians of the rounds."""
import json
import statistics
import sys


def median(rows, field):
    return statistics.median(row[field] for row in rows)


NAMES = {"qido-study-by-patientid": "search by PatientID", "qido-page": "page of 50 studies"}
small, large = int(sys.argv[2]), int(sys.argv[3])
runs = {}
for line in open(sys.argv[1], encoding="utf-8"):
    row = json.loads(line)
    runs.setdefault((row["scenario"], row["label"]), []).append(row)

print(f"| 8 clients | CPU ms a request at {small:,} | at {large:,} | ratio | median ms at {small:,} | at {large:,} | ratio | must | RSS MB at {large:,} | wrong answers |")
print("|---|---|---|---|---|---|---|---|---|---|")
for scenario, name in NAMES.items():
    few, many = runs[scenario, "small"], runs[scenario, "large"]
    cpu = median(few, "server_cpu_ms_per_req"), median(many, "server_cpu_ms_per_req")
    time = median(few, "p50_ms"), median(many, "p50_ms")
    print(
        f"| {name} | {cpu[0]:.3f} | {cpu[1]:.3f} | **{cpu[1] / cpu[0]:.2f}** | {time[0]:.2f} | {time[1]:.2f} | **{time[1] / time[0]:.2f}** "
        f'| ≤ 1.3 | {max(row["server_rss_peak"] for row in many) / 1e6:.0f} | {sum(row["errors"] for row in few + many)} |'
    )
