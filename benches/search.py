#!/usr/bin/env python3
"""The tables of `search`, and a plot.

    search.py curve FILE.jsonl [FILE.svg]                      times of each search over the size of the archive
    search.py stores IDLE.jsonl UNDER.jsonl STORING.jsonl TIMES MERGES    look-ups without and with stores
    search.py bytes FILE                                       what a study, a series and an instance add on disk

Times are medians of the rounds; `flat` compares p95 at the largest size with that at the smallest."""
import json
import math
import statistics
import sys
from collections import defaultdict

FLAT = 1.3
# scenario: what it is called, p95 wanted at the largest size in ms, whether it must be flat
SEARCHES = {
    "qido-study-by-patientid": ("PatientID", 5, True),
    "qido-study-uid": ("StudyInstanceUID", 5, True),
    "qido-accession": ("AccessionNumber", 5, True),
    "qido-sop-uid": ("SOPInstanceUID, over all instances", 5, True),
    "qido-series-of-study": ("series of a study", 5, True),
    "qido-instances-in-series": ("instances of a series", 5, True),
    "qido-patientname-prefix": ("beginning of a name, about 25 hits", 20, True),
    "qido-page-first": ("100 studies without filter, offset 0", 20, True),
    "qido-page-deep": ("100 studies without filter, offset at 90 %", 20, False),
    "qido-date-range": ("StudyDate range, about 25 hits", 20, False),
    "qido-date-all": ("StudyDate range, all match, 100 answered", 20, False),
    "qido-smi": ("`smi*`, 100 answered", 20, False),
    "qido-fuzzy": ("fuzzy name, about 25 hits", 20, False),
    "qido-modality-date": ("modality and StudyDate, about 25 hits", 20, False),
    "qido-orderby": ("100 studies ordered by StudyDate, any offset", 20, False),
    "qido-infix": ("`*owal*`, about 25 hits", None, False),
    "qido-count": ("count of all studies", 5, False),
}


def rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def median(found, field):
    return statistics.median(row[field] for row in found)


def asked(found):
    """Whether the corpus has such a search: the load tool asks none that finds too many."""
    return any(row["requests"] for row in found)


def verdict(most, limit, ratio, flat):
    said = []
    if limit is not None:
        said.append(f"≤ {limit} ms {'reached' if most <= limit else 'missed'}")
    if flat:
        said.append(f"≤ {FLAT}× {'reached' if ratio <= FLAT else 'missed'}")
    return ", ".join(said) or "curve"


def curve(path, svg=None):
    runs = defaultdict(list)
    for row in rows(path):
        runs[row["concurrency"], row["scenario"], row["instances"] // 2].append(row)
    sizes = sorted({size for _, _, size in runs})
    for clients in sorted({clients for clients, _, _ in runs}):
        print(f"{clients} client{'s' if clients > 1 else ''}; milliseconds, p50 / p95\n")
        print("| search | " + " | ".join(f"{size:,} studies" for size in sizes) + " | p95 largest / smallest | CPU ms a request | wrong | wanted |")
        print("|---" * (len(sizes) + 5) + "|")
        for scenario, (name, limit, flat) in SEARCHES.items():
            found = [runs.get((clients, scenario, size), []) for size in sizes]
            if not all(found):
                continue
            if not all(asked(one) for one in found):
                # A tool too slow to choose its questions has asked none.
                times = " | ".join(f"{median(one, 'p50_ms'):.2f} / {median(one, 'p95_ms'):.2f}" if asked(one) else "not asked" for one in found)
                print(f"| {name} | {times} | | | {sum(row['errors'] for one in found for row in one)} | |")
                continue
            times = " | ".join(f"{median(one, 'p50_ms'):.2f} / {median(one, 'p95_ms'):.2f}" for one in found)
            first, last = median(found[0], "p95_ms"), median(found[-1], "p95_ms")
            ratio = last / first if first else math.inf
            wrong = sum(row["errors"] for one in found for row in one)
            cpu = median(found[-1], "server_cpu_ms_per_req")
            print(f"| {name} | {times} | **{ratio:.2f}** | {cpu:.2f} | {wrong} | {verdict(last, limit, ratio, flat)} |")
        print()
    if svg:
        one = min(clients for clients, _, _ in runs)
        lines = {}
        for scenario, (name, _, _) in SEARCHES.items():
            if all(asked(runs.get((one, scenario, size), [])) for size in sizes):
                lines[name] = [median(runs[one, scenario, size], "p50_ms") for size in sizes]
        with open(svg, "w", encoding="utf-8") as out:
            out.write(plot(sizes, lines))


COLOURS = ["#1b6ca8", "#c2410c", "#15803d", "#7c3aed", "#b91c1c", "#0f766e", "#a16207", "#be185d", "#4d7c0f", "#334155"]


def plot(sizes, lines):
    """Time over size, both logarithmic, as an SVG; names stand at the ends of their lines, kept apart."""
    width, height, left, right, top, bottom = 900, 560, 60, 330, 30, 50
    least = 10 ** math.floor(math.log10(min(min(times) for times in lines.values())))
    most = 10 ** math.ceil(math.log10(max(max(times) for times in lines.values())))
    span = max(1, math.log10(most / least))

    def x(size):
        if len(sizes) == 1:
            return left
        return left + (width - left - right) * math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])

    def y(time):
        return height - bottom - (height - top - bottom) * math.log10(time / least) / span

    def text(at, down, said, anchor="start", colour="#333"):
        escaped = said.replace("`", "").replace("&", "&amp;").replace("<", "&lt;")
        return f'<text x="{at:.1f}" y="{down:.1f}" text-anchor="{anchor}" fill="{colour}">{escaped}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(left, 18, "Search: median time of a request (ms) over studies in the archive, one client"),
    ]
    decade = least
    while decade <= most * 1.001:
        parts.append(f'<path d="M{left} {y(decade):.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(text(left - 6, y(decade) + 4, f"{decade:g}", "end"))
        decade *= 10
    for size in sizes:
        parts.append(f'<path d="M{x(size):.1f} {top}V{height - bottom}" stroke="#ddd"/>')
        parts.append(text(x(size), height - bottom + 18, f"{size:,}", "middle"))
    lowest = height
    for place, (name, times) in enumerate(sorted(lines.items(), key=lambda line: line[1][-1])):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(f"{x(size):.1f},{y(time):.1f}" for size, time in zip(sizes, times))
        lowest = min(y(times[-1]) + 4, lowest - 15)
        end = f"{x(sizes[-1]):.1f} {y(times[-1]):.1f}L{x(sizes[-1]) + 18:.1f} {lowest - 4:.1f}"
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<path d="M{end}" stroke="{colour}" stroke-width="0.6" fill="none"/>')
        parts.append(text(x(sizes[-1]) + 22, lowest, f"{times[-1]:.2f}  {name}", "start", colour))
    return "\n".join([*parts, "</svg>", ""])


def stores(idle, under, storing, times, merges):
    """Look-ups one after the other, without and with stores beside them."""
    before = {row["scenario"]: row for row in rows(idle)}
    stored = rows(storing)[0]
    print(f"{stored['req_per_s']:.0f} stores a second beside the look-ups, their p99 {stored['p99_ms']:.1f} ms, {stored['errors']} failed\n")
    print("| one client | p50 idle | p99 idle | p50 with stores | p99 with stores | wrong | wanted: p99 ≤ max(2× idle, 20 ms) |")
    print("|---|---|---|---|---|---|---|")
    for row in rows(under):
        was = before[row["scenario"]]
        reached = "reached" if row["p99_ms"] <= max(2 * was["p99_ms"], 20) else "missed"
        print(
            f"| {SEARCHES[row['scenario']][0]} | {was['p50_ms']:.2f} | {was['p99_ms']:.2f} | {row['p50_ms']:.2f} "
            f"| {row['p99_ms']:.2f} | {row['errors'] + was['errors']} | {reached} |"
        )
    print()
    merging(times, merges)


def merging(times, merges):
    """p99 of what began while a merge of the index ran, and of all else."""
    with open(merges, encoding="utf-8") as lines:
        looks = [(int(at), float(running) > 0) for at, running in (line.split() for line in lines)]
    with open(times, encoding="utf-8") as lines:
        requests = [(int(began), int(took) / 1000) for _, began, took in (line.split() for line in lines)]
    during, without, at = [], [], 0
    for began, took in sorted(requests):
        while at + 1 < len(looks) and looks[at + 1][0] <= began:
            at += 1
        (during if looks and looks[at][1] else without).append(took)
    if len(during) < 100:
        print(f"merges of the index: {len(during)} of {len(requests)} look-ups met one, too few to tell")
        return
    print(f"p99 of look-ups: {percentile(during):.2f} ms while a merge of the index runs ({len(during)}), {percentile(without):.2f} ms else")


def percentile(values, share=0.99):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else math.nan


# profile: series of a study, instances of a study
SHAPES = {"note": (1, 2), "tiny": (2, 10), "mr": (5, 100)}


def size(path):
    grown = defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            profile, instances, count = line.split()
            grown[profile].append((int(instances), int(count)))
    equations = []
    print("| shape of a study | instances | bytes of the search view | bytes a study, from the growth |")
    print("|---|---|---|---|")
    for profile, ((small, less), (large, more)) in grown.items():
        series, instances = SHAPES[profile]
        a_study = (more - less) / (large - small) * instances
        equations.append(([1, series, instances], a_study))
        print(f"| {series} series, {instances} instances | {large:,} | {more:,} | {a_study:,.0f} |")
    study, series, instance = solved(equations)
    print(f"\na study {study:,.0f} bytes, a series {series:,.0f}, an instance {instance:,.0f}")


def solved(equations):
    """Three numbers from three equations, by elimination."""
    table = [[*map(float, left), float(right)] for left, right in equations]
    for at in range(3):
        best = max(range(at, 3), key=lambda row: abs(table[row][at]))
        table[at], table[best] = table[best], table[at]
        for row in range(3):
            if row != at:
                share = table[row][at] / table[at][at]
                table[row] = [one - share * other for one, other in zip(table[row], table[at])]
    return [table[at][3] / table[at][at] for at in range(3)]


if __name__ == "__main__":
    {"curve": curve, "stores": stores, "bytes": size}[sys.argv[1]](*sys.argv[2:])
