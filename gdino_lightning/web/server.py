"""Serving the page on this machine: no share link, no analytics, nothing fetched, nothing left behind."""

import errno
import ipaddress
import os
import socket
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gdino_lightning.errors import ConfigError

if TYPE_CHECKING:  # heavy, and not needed to look at an address
    from gdino_lightning.editing.fill import Fill
    from gdino_lightning.inference.predictor import Predictor

_MAX_UPLOAD = "100mb"  # of a file; its pixels are limited in `session`
_MOST_PAGES = 32  # open at once; older ones have to look again
_POLL_S = 0.2
_LAST_PORT = 65535


def is_local(host: str) -> bool:
    """Return whether only this machine can reach a server at `host`, a name or a bare address (`::1`)."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def check_server(host: str, port: int) -> None:
    """Find out what would fail, before weights are loaded.

    Raises:
        ConfigError: Gradio is not installed, the host is none of this machine, or the port is taken or out of range.
    """
    if find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'gdino-lightning[web]'")
    if not 1 <= port <= _LAST_PORT:
        raise ConfigError(f"--port {port}: a port is a number from 1 to {_LAST_PORT}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise _foreign(host) from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _foreign(host) from error
            raise _taken(host, port, error.strerror or str(error)) from error


def serve(
    predictor: "Predictor",
    title: str,
    *,
    host: str,
    port: int,
    ready: Callable[[str], None],
    paint: "Fill | None" = None,
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        predictor: Asked about every picture.
        title: Shown at the top of the page.
        host: Address to listen at; anything but 127.0.0.1 lets other machines in.
        port: TCP port.
        ready: Called with the address once the page answers.
        paint: What paints after a prompt in the editing part; without it things can only be removed.

    Raises:
        ConfigError: The port was taken in the meantime.
        KeyboardInterrupt: Ctrl-C ended it; by then the server is closed and its files are deleted.
    """
    with tempfile.TemporaryDirectory(prefix="gdino-page-") as name:
        folder = Path(name).resolve()
        # both are read when Gradio is imported or a page is built, not when it is launched
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder)}
        _bypass_proxies(host)
        from gdino_lightning.web.page import CSS, THEME, build_page

        page = build_page(predictor, title, folder, paint)
        try:
            _, url, _ = page.launch(
                server_name=f"[{host}]" if ":" in host else host,
                server_port=port,
                theme=THEME,
                css=CSS,
                max_file_size=_MAX_UPLOAD,
                state_session_capacity=_MOST_PAGES,
                footer_links=[],
                share=False,
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                inbrowser=False,
                inline=False,
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError as error:  # Gradio's, without a number
            raise _taken(host, port, "taken") from error
        try:
            ready(url)
            while page.is_running:
                time.sleep(_POLL_S)
        finally:
            page.close(verbose=False)


def _bypass_proxies(host: str) -> None:
    """Let Gradio, which asks its own server whether it is up, not ask a proxy for it."""
    for name in ("no_proxy", "NO_PROXY"):
        known = [os.environ[name]] if os.environ.get(name) else []
        os.environ[name] = ",".join([*known, "127.0.0.1", "localhost", host])


def _foreign(host: str) -> ConfigError:
    return ConfigError(f"--host {host}: no address of this machine; leave it out for 127.0.0.1")


def _taken(host: str, port: int, reason: str) -> ConfigError:
    other = port + 1 if port < _LAST_PORT else 7860
    return ConfigError(f"--host {host} --port {port}: cannot be served ({reason}); try another, such as --port {other}")
