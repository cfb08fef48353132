import logging
import socket

import pytest
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from vertebra.backbones import hub_access
from vertebra.backbones.hub_access import one_attempt


@pytest.fixture
def looked_up(monkeypatch):
    """Hosts whose address was looked up; none is found."""
    hosts = []

    def look_up(host, *args, **kwargs):
        hosts.append(host)
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(hub_access, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return hosts


def test_without_network_the_cache_is_used_once_and_nothing_is_printed(looked_up, tmp_path, monkeypatch, caplog):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    with one_attempt(), pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("timm/resnet10t.c3_in1k", "model.safetensors", cache_dir=tmp_path)
    assert looked_up == ["huggingface.co"]
    assert waits == []
    assert caplog.records == []


def test_the_client_is_as_before_even_after_an_error(looked_up):
    logger = logging.getLogger("huggingface_hub")
    level = logger.level

    def fail():
        assert constants.HF_HUB_OFFLINE
        raise KeyError

    with pytest.raises(KeyError), one_attempt():
        fail()
    assert not constants.HF_HUB_OFFLINE
    assert logger.level == level


def test_a_proxy_resolves_the_address(looked_up, monkeypatch):
    monkeypatch.setattr(hub_access, "getproxies", lambda: {"https": "http://proxy:3128"})
    with one_attempt():
        assert not constants.HF_HUB_OFFLINE
    assert looked_up == []


def test_a_known_address_is_requested(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with one_attempt():
        assert not constants.HF_HUB_OFFLINE
