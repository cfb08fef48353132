"""Section of a run's report on its analyses: what each found, with a link to its page."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from urllib.parse import quote

from vertebra.tasks.reporting.report import Section, note

FOLDER = "analyze-"  # and the name of the analysis


def analyses_section(run: Path) -> Section | None:
    """Return what `vertebra analyze` wrote into `analyze-*` folders of a run, None where there are none."""
    parts = []
    for file in sorted(run.glob(f"{FOLDER}*/*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            title, sentences = str(content["title"]), [str(sentence) for sentence in content["sentences"]]
        except (OSError, ValueError, KeyError, TypeError):  # another file of that name must not prevent the report
            continue
        page = f"{quote(file.parent.name)}/{quote(file.stem)}.html"
        parts.append(f'<h3><a href="{page}">{escape(title)}</a></h3>')
        parts += [f"<p>{escape(sentence)}</p>" for sentence in sentences]
    if not parts:
        return None
    return Section("Analyses", *parts, note("As of the last `vertebra analyze`, which may have had other weights."))
