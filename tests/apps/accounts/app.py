"""An application of the old kind: customers in PostgreSQL, columns of a fixed width, SQL for look-ups, no idea of tokens.
A customer's entity tag is the row's version; GET /customers takes `after` and `limit`, PUT takes If-Match.

app.py [ADDRESS:]PORT (SOCKET | HOST:PORT) USER DATABASE

Over TCP the password is what the file named by DATABASE_PASSWORD_FILE holds.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, unquote, urlsplit

import pg8000.dbapi

COLUMNS = ["name", "ssn", "email", "phone", "balance"]
SCHEMA = """create table if not exists customers (id serial primary key, name varchar(100) not null, ssn varchar(100) unique,
            email varchar(100), phone varchar(20), balance numeric(12, 2) not null default 0)"""


class Database:
    def __init__(self, place, user, database):
        self.lock = Lock()
        self.connection = pg8000.dbapi.connect(user=user, database=database, **reach(place))
        self.connection.autocommit = True
        # Several of these may start on one database at once.
        self.ask("select pg_advisory_lock(1)")
        self.ask(SCHEMA)
        self.ask("select pg_advisory_unlock(1)")

    def ask(self, sql, *values):
        with self.lock:
            cursor = self.connection.cursor()
            cursor.execute(sql, values)
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]


class Server(ThreadingHTTPServer):
    # Five would be the default.
    request_queue_size = 128


def reach(place):
    if place.startswith("/"):
        return {"unix_sock": place}
    host, _, port = place.rpartition(":")
    with open(os.environ["DATABASE_PASSWORD_FILE"], encoding="utf-8") as file:
        return {"host": host, "port": int(port), "password": file.read().strip()}


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    database = None

    def do_GET(self):
        path, wanted = self.target()
        if path == ["customers"]:
            known = {}
            for name, value in wanted:
                if name in COLUMNS:
                    # A parameter that is repeated is a list of which one must be it.
                    known.setdefault(name, []).append(value)
            where = "".join(f" and {name} in ({', '.join(['%s'] * len(values))})" for name, values in known.items())
            values = [value for values in known.values() for value in values]
            paging = dict(wanted)
            if "after" in paging:
                where += " and id > %s"
                values.append(int(paging["after"] or 0))
            limit = f" limit {int(paging['limit'])}" if "limit" in paging else ""
            sql = f"select * from customers where true{where} order by id{limit}"
            return self.answer(200, self.database.ask(sql, *values))
        if len(path) == 3 and path[1] == "by-ssn":
            rows = self.database.ask("select * from customers where ssn = %s", unquote(path[2]))
            return self.answer(200, rows[0]) if rows else self.answer(404, {"error": "no such customer"})
        return self.one("select *, xmin::text as version from customers where id = %s", path)

    def do_POST(self):
        names, values = self.document()
        marks = ", ".join(["%s"] * len(names))
        return self.one(f"insert into customers ({', '.join(names)}) values ({marks}) returning *, xmin::text as version", [], values, 201)

    def do_PUT(self):
        names, values = self.document()
        assignments = ", ".join(f"{name} = %s" for name in names)
        wanted = self.headers["If-Match"]
        condition = " and xmin = %s::xid" if wanted else ""
        sql = f"update customers set {assignments} where id = %s{condition} returning *, xmin::text as version"
        self.one(sql, self.target()[0], values, version=wanted)

    def one(self, sql, path, values=(), status=200, version=None):
        ids = [int(path[1])] if len(path) == 2 and path[0] == "customers" and path[1].isdigit() else []
        if path and not ids:
            return self.answer(404, {"error": "no such thing"})
        versions = []
        if version is not None:
            tag = version.strip().strip('"')
            # What is no tag of ours is the tag of no row.
            versions = [tag if tag.isdigit() else "0"]
        try:
            rows = self.database.ask(sql, *values, *ids, *versions)
        except pg8000.dbapi.DatabaseError as error:
            # As many applications do: the database's words, and 500.
            return self.answer(500, {"error": error.args[0].get("M")})
        if rows:
            return self.answer(status, rows[0], rows[0].pop("version", None))
        if versions and self.database.ask("select 1 from customers where id = %s", *ids):
            return self.answer(412, {"error": "somebody else has written it"})
        return self.answer(404, {"error": "no such customer"})

    def target(self):
        parts = urlsplit(self.path)
        return [part for part in parts.path.split("/") if part], parse_qsl(parts.query)

    def document(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = [name for name in COLUMNS if name in given]
        return names, [given[name] for name in names]

    def answer(self, status, body, version=None):
        text = json.dumps(body, default=float).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if version is not None:
            self.send_header("ETag", f'"{version}"')
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, form, *values):
        print(form % values, flush=True)


def main():
    listen, place, user, database = sys.argv[1:]
    address, _, port = listen.rpartition(":")
    Application.database = Database(place, user, database)
    Server((address or "127.0.0.1", int(port)), Application).serve_forever()


if __name__ == "__main__":
    main()
