"""Streamlit's server with everything unwanted switched off: it sends nothing to anybody, watches no files, and writes none."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.app.opened import THIS_MACHINE
from lib.errors import InputError

PAGE = Path(__file__).with_name("page.py")
# The largest upload in megabytes: it is held in memory, several times over. `categorize` accepts more.
MOST_MEGABYTES = 50


def options(host: str, port: int, debug: bool) -> Mapping[str, Any]:
    """Streamlit's own names; the values here win over any configuration of the user's."""
    return {
        "browser.gatherUsageStats": False,
        # Links that would carry an error's text to a search engine.
        "client.showErrorLinks": False,
        "client.showErrorDetails": "full" if debug else "none",
        # No menu: it would hold a button that puts the page into Streamlit's cloud, and a choice of colours, which follow the system's.
        "client.toolbarMode": "minimal",
        "global.developmentMode": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": "info" if debug else "error",
        "runner.magicEnabled": False,
        # It would search everything imported after each answer, which takes longer than the answer.
        "runner.postScriptGC": False,
        "server.address": host,
        # A page on another site whose name resolves to this machine for a moment must not get in (DNS rebinding).
        "server.allowedHosts": list(THIS_MACHINE) if host in THIS_MACHINE else [],
        "server.enableAgentApi": False,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.enableStaticServing": False,
        "server.fileWatcherType": "none",
        # Open no browser, and ask for no e-mail address.
        "server.headless": True,
        "server.maxUploadSize": MOST_MEGABYTES,
        "server.port": port,
        "server.runOnSave": False,
        # White is easy to read on it, and it stands out against both backgrounds.
        "theme.light.primaryColor": "#1f6fc4",
        "theme.dark.primaryColor": "#1f6fc4",
    }


def check_free(host: str, port: int) -> None:
    """
    Raises:
        InputError: not an address of this machine, or a port that is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"Expected a free port of this machine in --host {host} --port {port}, found none ({error.strerror}); give another."
        ) from None


def serve(host: str, port: int, debug: bool) -> None:
    """Serve the page until the process is told to end (Ctrl-C, SIGTERM)."""
    from streamlit import net_util
    from streamlit.web import bootstrap

    # To find its own address as seen from outside, it would ask a server there.
    net_util.get_external_ip = lambda: None
    # It would check five times a second for settings of the user's, which change nothing here.
    bootstrap._install_config_watchers = lambda flag_options: None
    # As flags, which win over a settings file in the working folder or of the user's.
    chosen = {name.replace(".", "_"): value for name, value in options(host, port, debug).items()}
    bootstrap.load_config_options(chosen)
    shown = f"[{host}]" if ":" in host else host
    print(f"the page is at http://{shown}:{port}; Ctrl-C ends it", flush=True)
    if host not in THIS_MACHINE:
        print(
            "whoever reaches this address can see what the page shows, and correct it: it asks for no password", file=sys.stderr
        )
    bootstrap.run(str(PAGE), False, [], chosen)
