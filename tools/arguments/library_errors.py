"""Errors of jsonargparse and Lightning about the arguments of a run, as one line."""

from __future__ import annotations

import argparse
import re
from types import TracebackType

from lightning.fabric.utilities.exceptions import MisconfigurationException

_TRAINER = "lightning.pytorch.trainer.trainer"
# what says why, in jsonargparse's report of every alternative that it tried; the first pattern that is found counts
_REASONS = (
    (re.compile(r"Option '([^']+)' is not accepted"), "{flag}.{0} does not exist"),
    (re.compile(r"unrecognized arguments: --?([^\s=]+)"), "{flag}.{0} does not exist"),
    (
        re.compile(r"Requirement '(\w+)[^']*' not met"),
        "{flag} needs the package {0}, which is not installed; run pip install {0}, or leave it out",
    ),
    (re.compile(r"No module named '([^']+)'"), "{flag} needs the package {0}, which is not installed"),
    (re.compile(r"Expected a dot import path string: (\S+)"), "{flag} is {0}, which is no class that it takes"),
    (re.compile(r"Expected (?:a|an) typing\.Literal\[([^\]]+)\]"), "{flag} is {value}; expected one of {0}"),
    (re.compile(r"Expected (?:a|an) <class '(\w+)'>\. Got value: (.*)"), "{flag} is {1}; expected {0}"),
    (re.compile(r"Expected (?:a|an) <class '(\w+)'>"), "{flag} is {value}; expected {0}"),
    (re.compile(r"the following arguments are required: (.+)"), "missing: {0}"),
)
_HELP = "vertebra fit --help-all lists every flag"


def library_message(error: BaseException) -> str | None:
    """Return the one-line message of an error about arguments, or None for another one."""
    text = str(error)
    if isinstance(error, argparse.ArgumentError) or text.startswith("Does not validate"):
        return _argument_message(text)
    if isinstance(error, MisconfigurationException) or _in_constructor_of_trainer(error.__traceback__):
        line = " ".join(text.split())
        remedy = " Choose with --device cpu, gpu or mps." if "backend" in text or "accelerator" in text else ""
        return f"{line:.300}{'' if line.endswith(('.', '!')) else '.'}{remedy}"
    return None


def _argument_message(text: str) -> str:
    keys = re.findall(r'Parser key "([^"]+)"', text)
    logger = re.search(r"class_path '(\S+)':\s+Requirement", text)
    flag = f"--{'.'.join(keys)}" if keys else logger[1].rpartition(".")[2] if logger else "an argument"
    given = re.findall(r"Given value: (.*)", text)
    value = given[-1][:80] if given else ""
    for pattern, message in _REASONS:
        if found := pattern.search(text):
            said = message.format(*found.groups(), flag=flag, value=value).replace("an argument.", "--")
            return f"{said}. {_HELP}."
    line = next((line.strip(" -") for line in text.splitlines() if line.strip()), text)
    return f"{line:.300}. {_HELP}."


def _in_constructor_of_trainer(traceback: TracebackType | None) -> bool:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if traceback.tb_frame.f_globals.get("__name__") == _TRAINER and code.co_name == "__init__":
            return True
        traceback = traceback.tb_next
    return False
