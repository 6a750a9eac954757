"""A loop-back stand-in for the model hub, enough of it to open one small model by name."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def serving(repository: str, folder: Path):
    """Serve `folder`, with what is below it, as the model `repository`; yields the address to put in HF_ENDPOINT."""
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            prefix = f"/{repository}/resolve/"
            if path.startswith(prefix):
                file = folder / path[len(prefix) :].split("/", 1)[1]
                if file.is_file():
                    return self._send(200, file.read_bytes(), body)
                return self._send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
            if path.startswith(f"/api/models/{repository}/tree"):
                tree = [
                    {"type": "file", "path": name, "size": f.stat().st_size, "oid": "0"} for name, f in files.items()
                ]
                return self._send(200, json.dumps(tree).encode(), body)
            if path.startswith(f"/api/models/{repository}"):
                siblings = [{"rfilename": name} for name in files]
                card = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings, "tags": []}
                return self._send(200, json.dumps(card).encode(), body)
            return self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})

        def _send(self, status: int, content: bytes, body: bool, extra: dict | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:40]}"')
            self.send_header("X-Repo-Commit", COMMIT)
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
