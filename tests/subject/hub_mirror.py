"""A loop-back stand-in for the model hub, enough of it to open small models and to stream small data sets by name."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A hub at `address`; `read` are the paths of the files that were asked for, in order."""

    models: Mapping[str, Path]
    datasets: Mapping[str, Path]
    address: str = ""
    read: list[str] = field(default_factory=list)

    def environment(self, home: Path) -> dict[str, str]:
        """What makes the hub's client ask here, with its own files below `home`."""
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}


@contextlib.contextmanager
def serving(models: Mapping[str, Path], datasets: Mapping[str, Path] | None = None) -> Iterator[Hub]:
    """Serve folders as repositories of models and data sets, by name, as long as the context lasts."""
    hub = Hub(models, datasets or {})

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            self._answer()

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            folder, rest = self._repository(urlsplit(self.path).path)
            if folder is None or not rest.startswith("paths-info/"):
                return self._send(404, b"")
            names = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            return self._send(200, json.dumps([_entry(folder, folder / name) for name in names]).encode())

        def _repository(self, path: str) -> tuple[Path | None, str]:
            """The folder of the repository that a path begins with, and what follows its name."""
            for kind, prefixes in (
                (hub.models, ("/", "/api/models/")),
                (hub.datasets, ("/datasets/", "/api/datasets/")),
            ):
                for name, folder in kind.items():
                    for prefix in prefixes:
                        if path == prefix + name or path.startswith(f"{prefix}{name}/"):
                            return folder, unquote(path[len(prefix + name) :].strip("/"))
            return None, ""

        def _answer(self) -> None:
            path = urlsplit(self.path).path
            folder, rest = self._repository(path)
            if folder is None:
                return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            action, _, below = rest.partition("/")
            if action == "resolve":
                file = folder / below.partition("/")[2]
                if not file.is_file():
                    return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                if self.command == "GET":
                    hub.read.append(file.relative_to(folder).as_posix())
                return self._send(200, file.read_bytes())
            if action == "tree":
                place = folder / below.partition("/")[2]
                if not place.is_dir():
                    return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                recursive = "recursive=true" in self.path.lower()
                listed = sorted(place.rglob("*") if recursive else place.iterdir())
                return self._send(200, json.dumps([_entry(folder, one) for one in listed]).encode())
            name = next(name for name, one in {**hub.models, **hub.datasets}.items() if one is folder)
            siblings = [{"rfilename": f.relative_to(folder).as_posix()} for f in folder.rglob("*") if f.is_file()]
            card = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []}
            return self._send(200, json.dumps(card).encode())

        def _send(self, status: int, content: bytes, extra: dict[str, str] | None = None) -> None:
            whole = content
            if status == 200 and (asked := self.headers.get("Range")):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                content, status = whole[int(first) : int(last or len(whole) - 1) + 1], 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{len(whole)}")
            headers = {
                "Accept-Ranges": "bytes", "Content-Length": str(len(content)), "X-Repo-Commit": COMMIT,
                "ETag": f'"{hashlib.sha256(whole).hexdigest()[:40]}"',
            }  # fmt: skip
            for name, value in (headers | (extra or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _entry(folder: Path, one: Path) -> dict:
    """A file or a folder as the hub's listing has it."""
    about = {"type": "directory"} if one.is_dir() else {"type": "file", "size": one.stat().st_size}
    return about | {"path": one.relative_to(folder).as_posix(), "oid": "0"}
