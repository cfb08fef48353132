"""Access to the Hugging Face Hub without minutes of retries where there is no network."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies


@contextmanager
def one_attempt() -> Iterator[None]:
    """Let the Hub's client use its cache alone if the Hub cannot be found, and print nothing about failed requests.

    It would try five times for each file, with pauses that grow, and write two lines each time; the error that it
    raises says the same.
    """
    from huggingface_hub import constants

    logger = logging.getLogger("huggingface_hub")
    level, offline = logger.level, constants.HF_HUB_OFFLINE
    try:
        logger.setLevel(logging.ERROR)
        constants.HF_HUB_OFFLINE = offline or not _is_found(urlsplit(constants.ENDPOINT).hostname or "")
        yield
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def _is_found(host: str) -> bool:
    if getproxies():  # which resolve the address
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
