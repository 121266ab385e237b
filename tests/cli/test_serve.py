"""`gdino serve` as typed: help, addresses, and how it ends. What the page does is in tests/web."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gdino_lightning.cli import main
from gdino_lightning.web import server
from gdino_lightning.web.server import check_server, is_local

LISTEN = "0A"  # in Linux's tables of sockets


def failure(capsys, *arguments: str) -> str:
    """The one line that bad input prints."""
    assert main(["serve", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("gdino: ").strip()


def test_help_imports_neither_gradio_nor_torch():
    code = (
        "import sys, contextlib\nfrom gdino_lightning.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['serve', '--help'])\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--inpaint_weights" in done.stdout
    imported = {name.split(".")[0] for name in done.stderr.split()}
    assert not imported & {"gradio", "torch", "numpy", "cv2", "transformers", "diffusers"}


def test_a_taken_port_is_one_line_with_another_one(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = failure(capsys, "--weights", "nano", "--port", str(port))
    assert line.startswith(f"--host 127.0.0.1 --port {port}: cannot be served (Address already in use); try another")


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_out_of_range_is_one_line(capsys, port):
    assert failure(capsys, "--weights", "nano", "--port", port) == f"--port {port}: a port is a number from 1 to 65535"


def test_a_host_of_another_machine_is_one_line(capsys, free_port):
    # TEST-NET-1 of RFC 5737: nobody's address
    line = failure(capsys, "--weights", "nano", "--host", "192.0.2.1", "--port", str(free_port))
    assert line == "--host 192.0.2.1: no address of this machine; leave it out for 127.0.0.1"


def test_a_name_of_no_machine_is_one_line(capsys, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    line = failure(capsys, "--weights", "nano", "--host", "nowhere")
    assert line == "--host nowhere: no address of this machine; leave it out for 127.0.0.1"


def test_without_gradio_the_line_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    assert failure(capsys, "--weights", "nano") == "the page needs Gradio: pip install 'gdino-lightning[web]'"


def test_weights_are_needed_and_must_exist(capsys, free_port):
    assert "--weights" in failure(capsys)
    assert "missing.ckpt" in failure(capsys, "--weights", "missing.ckpt", "--port", str(free_port))


def test_which_hosts_only_this_machine_reaches():
    assert all(map(is_local, ("127.0.0.1", "127.1.2.3", "localhost", "::1")))
    assert not any(map(is_local, ("0.0.0.0", "::", "192.168.0.7", "example.org")))


def test_a_free_port_is_accepted(free_port):
    check_server("127.0.0.1", free_port)


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests in the background of a shell ignore it, and so would a child


def listening(process: int) -> set[tuple[str, int]]:
    """Addresses and ports at which a process takes connections, as the kernel has them."""
    own = {str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()}
    assert not [line for line in sockets(process, "tcp6") if line[3] == LISTEN and f"socket:[{line[9]}]" in own]
    found = (line[1] for line in sockets(process, "tcp") if line[3] == LISTEN and f"socket:[{line[9]}]" in own)
    return {
        (socket.inet_ntoa(bytes.fromhex(host)[::-1]), int(port, 16)) for host, port in (at.split(":") for at in found)
    }


def sockets(process: int, kind: str) -> list[list[str]]:
    return [line.split() for line in Path(f"/proc/{process}/net/{kind}").read_text().splitlines()[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "given", "host"),
    [(signal.SIGINT, 130, [], "127.0.0.1"), (signal.SIGTERM, 143, ["--host=0.0.0.0"], "0.0.0.0")],
)
def test_it_listens_on_this_machine_unless_told_and_an_end_from_outside_leaves_no_files(
    tmp_path, free_port, how, code, given, host
):
    arguments = ["serve", "--weights", "nano-random", *given, "--port", str(free_port)]
    # a proxy that does not exist: the program must not ask one for its own page
    environment = os.environ | {"TMPDIR": str(tmp_path), "http_proxy": "http://127.0.0.1:9"}
    with subprocess.Popen(
        [sys.executable, "-m", "gdino_lightning", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_heed_interrupts,
    ) as process:
        try:
            line = process.stdout.readline()
            assert re.match(rf"the page: http://\S+:{free_port}/ ", line)
            assert list(tmp_path.glob("gdino-page-*"))
            assert listening(process.pid) == {(host, free_port)}
            process.send_signal(how)
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # or a failure would wait for it without end
    assert process.returncode == code
    assert rest == ""
    assert "Traceback" not in errors
    assert ("interrupted" in errors) == (how == signal.SIGINT)
    assert ("lets other machines in" in errors) == (host == "0.0.0.0")
    assert not list(Path(tmp_path).iterdir())
