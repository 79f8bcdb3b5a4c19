#!/usr/bin/env python3
"""An application of the old kind: keeps what it is sent in a file, a record a line, and knows nothing of sealing.

records.py PORT FILE

    POST /customers {…}        a new record, with an id      PUT, GET, PATCH, DELETE /customers/1
    GET /customers?email=X     records whose member is X     any other body is kept as it came
"""

import json
import pathlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

JSON = ("application/json", "application/fhir+json")


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock, file, records = Lock(), None, {}

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path in self.records:
            kind, text, version = self.records[url.path]
            return self.answer(200, text, kind, version)
        inside = [t for path, (k, t, _) in self.records.items() if path.rsplit("/", 1)[0] == url.path and k in JSON]
        wanted = parse_qsl(url.query)
        found = [t for t in inside if all(str(json.loads(t).get(name)) == value for name, value in wanted)]
        known = found or inside or url.path.count("/") == 1
        return self.answer(200, f"[{','.join(found)}]") if known else self.answer(404, '{"error":"no such record"}')

    def do_POST(self):
        kind, text = self.body()
        path = urlsplit(self.path).path
        with self.lock:
            record = json.loads(text) if kind in JSON else None
            if isinstance(record, dict):
                number = 1 + sum(known.startswith(path + "/") for known in self.records)
                path, text = f"{path}/{number}", json.dumps({"id": number} | record, ensure_ascii=False, separators=(",", ":"))
            self.keep(path, kind, text)
        self.answer(201, text, kind, 1)

    def do_PUT(self):
        kind, text = self.body()
        with self.lock:
            _, _, version = self.records.get(self.path, (None, None, 0))
            if self.headers.get("If-Match", "*") not in ("*", f'"{version}"'):
                return self.answer(412, '{"error":"somebody was faster"}')
            self.keep(self.path, kind, text)
        self.answer(200, text, kind, version + 1)

    def do_PATCH(self):
        kind, text = self.body()
        with self.lock:
            held, before, version = self.records.get(self.path, (None, "{}", 0))
            record, patch = json.loads(before), json.loads(text)
            steps = patch if kind.endswith("json-patch+json") else [{"op": "add", "path": f"/{k}", "value": v} for k, v in patch.items()]
            for step in steps:
                name = step["path"][1:]
                if step["op"] == "test" and record.get(name) != step["value"]:
                    return self.answer(409, '{"error":"it is another value"}')
                if step["op"] in ("add", "replace"):
                    record[name] = step["value"]
                if step["op"] == "remove" or record.get(name) is None:
                    record.pop(name, None)
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            self.keep(self.path, held or "application/json", text)
        self.answer(200, text, version=version + 1)

    def do_DELETE(self):
        with self.lock:
            self.records.pop(self.path, None)
            self.save()
        self.answer(204, "")

    def keep(self, path, kind, text):
        version = self.records.get(path, (None, None, 0))[2] + 1
        self.records[path] = (kind, text, version)
        self.save()

    def save(self):
        lines = (f"{path} {text}" for path, (_, text, _) in self.records.items())
        self.file.write_text("\n".join([*lines, ""]), encoding="utf-8")

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            data = b"".join(pieces)
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get_content_type()
        return kind, data.decode().strip() if kind in JSON else data.decode()

    def answer(self, status, text, kind="application/json", version=None):
        # A line end, for whoever reads along in a terminal.
        data = (text + "\n" if kind in JSON and status != 204 else text).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if version:
            self.send_header("ETag", f'"{version}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Application.file = pathlib.Path(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
