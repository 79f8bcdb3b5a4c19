"""An application of the old kind for one pod: keeps the documents that it is sent, word by word, in a file.

customers.py PORT FILE
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    place = ""

    def do_GET(self):
        found = self.stored().get(self.path)
        self.answer(404 if found is None else 200, found or {"error": "no such customer"})

    def do_PUT(self):
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(self.place + ".new", "w", encoding="utf-8") as file:
            json.dump(self.stored() | {self.path: document}, file)
        os.replace(self.place + ".new", self.place)
        self.answer(200, document)

    def stored(self):
        if not os.path.exists(self.place):
            return {}
        with open(self.place, encoding="utf-8") as file:
            return json.load(file)

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    Application.place = sys.argv[2]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
