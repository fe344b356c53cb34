"""The page of a report: one HTML file that needs nothing else, for a browser or for print.

Everything is inside: figures as data, the style, and where a table can be sorted a script of a few lines, which the
page's policy names by its hash. A browser loads nothing and runs nothing else.
"""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

__all__ = ["SUPPRESSED", "Page", "Section"]

SUPPRESSED = "s"
"""Stands for a count that is not shown."""

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid #bbb; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; } p { max-width: 46rem; margin: .4rem 0; }
nav { display: flex; flex-wrap: wrap; gap: .1rem 1rem; } nav a { white-space: nowrap; } a { color: #0b4f7d; }
.scroll { overflow-x: auto; background: linear-gradient(to right, #fff 60%, #fff0) 0 0 / 40px 100%,
  linear-gradient(to left, #fff 60%, #fff0) 100% 0 / 40px 100%, linear-gradient(to right, #0003, #0000) 0 0 / 12px 100%,
  linear-gradient(to left, #0003, #0000) 100% 0 / 12px 100%; background-repeat: no-repeat;
  background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; font-size: .88rem; margin: .6rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; padding: .18rem .9rem .18rem 0; border-bottom: 1px solid #e3e3e3; vertical-align: top; }
thead th { border-bottom: 1.5px solid #555; } td.n, th.n { text-align: right; } td.n { white-space: nowrap; }
tr.first td { border-top: 1px solid #999; } td.level { padding-left: 1.2rem; } .s { color: #666; }
table.sortable { font-size: .78rem; } table.sortable td, table.sortable th { padding-right: .4rem; }
td.wrap { max-width: 34rem; } td.short { white-space: nowrap; } td.prose { min-width: 13rem; }
td.long { overflow-wrap: anywhere; }
figure { margin: .8rem 0; } figure img { max-width: 100%; height: auto; } figcaption { font-size: .85rem; color: #444; }
figure div { overflow-x: auto; }
@media screen and (max-width: 40rem) { figure img { max-width: none; } }
.note { font-size: .88rem; color: #444; } summary { cursor: pointer; margin: .5rem 0; }
td.mark { font-weight: 600; } td.todo { background: #fff6d6; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; } th button::after { content: "\\00a0\\2195"; color: #777; }
th[aria-sort="ascending"] button::after { content: "\\00a0\\2191"; color: #000; }
th[aria-sort="descending"] button::after { content: "\\00a0\\2193"; color: #000; }
@media print { body { margin: 0; max-width: none; } h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""
LONG_NAME = re.compile(r"[\w+.]{21,}")
LONG_WORD = re.compile(r"\S{33}")
LONGEST_LABEL, SHORTEST_PROSE = 16, 60
"""Characters of cells that stay in one line, and of those that are given width where the page is narrow."""
LEADING_NUMBER = re.compile(r"^\d{4,}(?= \(|$)")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Sorts by the number that a cell begins with, else by its text; cells without a value stay last. Without a script the
# table stands in the order in which it was written.
SORTING = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, place) => {
    const text = row.cells[place].textContent.replaceAll(",", "").replace("\u2212", "-").replace(/^</, "");
    const number = parseFloat(text);
    return text === "" || text === "\u2013" ? null : Number.isNaN(number) ? text : number;
  };
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = (one, other) => {
        const a = value(one, place), b = value(other, place);
        if (a === null || b === null) return (a === null) - (b === null);
        const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
"""


def _breakable(text: str) -> str:
    """Keep line breaks, and let the long name of an experiment be broken behind a plus or a dot."""
    parts = LONG_NAME.sub(lambda found: re.sub(r"(?<=[+.])(?=\w)", "<wbr>", found[0]), text)
    return parts.replace("\n", "<br>")


def _length(value: str) -> str:
    """Return how the words of a cell may be broken: by their length."""
    if LONG_WORD.search(value):
        return "long"
    return "short" if len(value) <= LONGEST_LABEL else "prose" if len(value) >= SHORTEST_PROSE else ""


@dataclass
class Section:
    """A section of the page, filled from top to bottom.

    Attributes
    ----------
    title : str
    key : str
        Its anchor.
    parts : list of str
        Finished HTML.
    """

    title: str
    key: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Add a heading within the section."""
        self.parts.append(f"<h3>{html.escape(text)}</h3>")

    def text(self, text: str, *, note: bool = False) -> None:
        """Add a paragraph."""
        kind = ' class="note"' if note else ""
        self.parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def figure(self, path: Path, caption: str) -> None:
        """Add a figure, which becomes part of the page."""
        kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
        content = base64.b64encode(path.read_bytes()).decode()
        self.parts.append(
            f'<figure><div><img alt="{html.escape(caption)}" src="data:{kind};base64,{content}"></div>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def table(
        self,
        table: pd.DataFrame,
        caption: str = "",
        *,
        text: int = 1,
        grouped: bool = False,
        folded: str = "",
        sortable: bool = False,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        """Add a table of text.

        Parameters
        ----------
        table : DataFrame
            A line break within a value is kept.
        caption : str
        text : int
            Leading columns that hold words; the others hold numbers and are aligned to the right.
        grouped : bool
            Whether the first column names groups of rows, each written once.
        folded : str
            Where given, the table opens on a click on this line.
        sortable : bool
            Whether a click on the head of a column sorts the rows by it.
        marks : dict of value to class, optional
            Cells of these values stand out: `mark` (bold) or `todo` (shaded).
        """
        marks = marks or {}
        titles = "".join(
            f'<th class="{"n" if place >= text else "wrap"}" scope="col">{html.escape(str(title))}</th>'
            for place, title in enumerate(table.columns)
        )
        body, previous = [], None
        for values in table.astype(str).itertuples(index=False, name=None):
            first = grouped and values[0] != previous
            cells = []
            for place, value in enumerate(values):
                number = LEADING_NUMBER.sub(lambda found: f"{int(found[0]):,}", value) if place >= text else value
                shown = "" if grouped and place == 0 and not first else _breakable(html.escape(number))
                kind = "n" if place >= text else f"wrap {_length(value)}".rstrip()
                kind += " s" if value == SUPPRESSED else f" {marks[value]}" if value in marks else ""
                cells.append(f'<td class="{kind}">{shown}</td>')
            body.append(f'<tr class="{"first" if first else "next"}">{"".join(cells)}</tr>')
            previous = values[0]
        rows = "".join(body)
        head = f"<caption>{html.escape(caption)}</caption>" if caption else ""
        opened = '<table class="sortable">' if sortable else "<table>"
        made = f"{opened}{head}<thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"
        made = f'<div class="scroll">{made}</div>'
        self.parts.append(f"<details><summary>{html.escape(folded)}</summary>{made}</details>" if folded else made)


@dataclass
class Page:
    """The page.

    Attributes
    ----------
    title, lead, note : str
        Heading, the sentence below it, and what holds for all numbers.
    sections : list of Section
    """

    title: str
    lead: str
    note: str
    sections: list[Section] = field(default_factory=list)

    def section(self, title: str, key: str) -> Section:
        """Add a section and return it."""
        self.sections.append(Section(title, key))
        return self.sections[-1]

    def render(self) -> str:
        """Return the page as HTML."""
        links = "".join(f'<a href="#{html.escape(s.key)}">{html.escape(s.title)}</a>' for s in self.sections)
        body = "\n".join(
            "\n".join([f'<section id="{html.escape(s.key)}"><h2>{html.escape(s.title)}</h2>', *s.parts, "</section>"])
            for s in self.sections
        )
        policy, script = POLICY, ""
        if '<table class="sortable">' in body:
            digest = base64.b64encode(hashlib.sha256(SORTING.encode()).digest()).decode()
            policy, script = f"{POLICY}; script-src 'sha256-{digest}'", f"<script>{SORTING}</script>"
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head><body>\n"
            f"<h1>{html.escape(self.title)}</h1><p>{html.escape(self.lead)}</p>\n<nav>{links}</nav>\n"
            f'<p class="note">{html.escape(self.note)}</p>\n{body}\n{script}</body></html>\n'
        )
