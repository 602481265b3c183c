# SPDX-License-Identifier: Apache-2.0
"""What the drivers of bench/evidence share: a page from a template and a run, and a look at charts.

In a template {{expression:format}} is evaluated by the names given, and a line <!-- holds: expression --> is a claim of
the words around it: where one does not hold for a run, the page must not be published, and the words be mended first.
"""

import csv
import re
import textwrap
import xml.etree.ElementTree as xml


class Mistake(Exception):
    pass


def read_curves(path, *key, words=()):
    """Rows of numbers, and of the columns named in words, by the columns of the key; empty fields are left out."""
    curves = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            values = {k: v if k in words else float(v) for k, v in row.items() if v and k not in key}
            curves.setdefault(tuple(row[k] for k in key), []).append(values)
    return curves


def write_last(path, to, *key):
    """The last row of each curve."""
    with open(path, newline="") as whole, open(to, "w") as last:
        rows = list(csv.DictReader(whole))
        writer = csv.DictWriter(last, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({tuple(r[k] for k in key): r for r in rows}.values())


def fill(template, names, check):
    """The page, and the claims that do not hold."""
    names = {"all": all, "any": any, "max": max, "min": min, "abs": abs, "sum": sum, "len": len,
             "range": range} | names
    broken = []

    def claim(match):
        if check and not eval(match[1], names):
            broken.append(match[1])
        return ""

    def value(match):
        return format(eval(match[1], names), match[2] or "")

    page = re.sub(r"<!-- holds: (.*?) -->\n?", claim, template, flags=re.DOTALL)
    page = re.sub(r"\{\{(.+?)(?::([^:}]+))?\}\}", value, page)
    return "\n\n".join(map(wrapped, page.strip().split("\n\n"))) + "\n", broken


def wrapped(block):
    """A paragraph or a list in lines of at most 120; tables, headings and pictures as they are."""
    if block.startswith(("|", "#", "![")):
        return block
    items = re.split(r"\n(?=- )", block)
    return "\n".join(textwrap.fill(" ".join(i.split()), 120, subsequent_indent="  " * i.startswith("- "),
                                   break_long_words=False, break_on_hyphens=False) for i in items)


def check_chart(path, curves):
    """At least so many curves, and none outside the page."""
    picture = xml.parse(path).getroot()
    width, height = float(picture.get("width")), float(picture.get("height"))
    lines = picture.findall(".//{*}polyline")
    if len(lines) < curves:
        raise Mistake(f"{path.name} has {len(lines)} curves")
    for line in lines:
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            if not (0 <= x <= width and 0 <= y <= height):
                raise Mistake(f"{path.name}: a point lies outside the page, at {point}")
