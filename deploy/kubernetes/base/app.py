"""The example's application: keeps the JSON that it is sent, and knows nothing of encryption."""

import http.server
import os

KEPT = {}


class Customers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        KEPT[self.path] = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200, KEPT[self.path])

    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, b'{"ok":true}')
        elif self.path in KEPT:
            self.answer(200, KEPT[self.path])
        else:
            self.answer(404, b'{"error":"not found"}')

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Customers).serve_forever()
