"""Reads forms with parsers of applications. In: lines of {"type": content type, "body": hex}. Out: lines of
{parser: [[name, value], ...] or null}, null where it refuses the form. Files are left out."""

import email.parser
import email.policy
import io
import json
import sys
import urllib.parse

import django
import multipart
import python_multipart
import tornado.httputil
import werkzeug.formparser
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest

settings.configure(ALLOWED_HOSTS=["*"])
django.setup()


def environ(content_type, body):
    return {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/", "SERVER_NAME": "x", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
    }


def with_django(content_type, body):
    form = WSGIRequest(environ(content_type, body)).POST
    return [(name, value) for name in form for value in form.getlist(name)]


def with_werkzeug(content_type, body):
    parsed = werkzeug.formparser.parse_form_data(environ(content_type, body), silent=False)
    return list(parsed[1].items(multi=True))


def with_tornado(content_type, body):
    arguments, files = {}, {}
    tornado.httputil.parse_body_arguments(content_type, body, arguments, files)
    return [(name, value.decode("utf-8", "replace")) for name in arguments for value in arguments[name]]


def with_multipart(content_type, body):
    fields, _ = multipart.parse_form_data(environ(content_type, body), strict=False)
    return list(fields.iterallitems())


def with_python_multipart(content_type, body):
    found = []
    headers = {"Content-Type": content_type.encode(), "Content-Length": str(len(body)).encode()}
    keep = lambda field: found.append((field.field_name.decode(), (field.value or b"").decode("utf-8", "replace")))
    python_multipart.parse_form(headers, io.BytesIO(body), keep, lambda file: None)
    # It leaves the decoding of urlencoded forms to its callers.
    plain = urllib.parse.unquote_plus if content_type.startswith("application/x-") else str
    return [(plain(name), plain(value)) for name, value in found]


def with_urllib(content_type, body):
    if not content_type.startswith("application/x-www-form-urlencoded"):
        raise ValueError
    return urllib.parse.parse_qsl(body.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")


def with_email(content_type, body):
    if not content_type.startswith("multipart/"):
        raise ValueError
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = (part for part in message.walk() if not part.is_multipart())
    return [
        (part.get_param("name", header="content-disposition"), (part.get_payload(decode=True) or b"").decode("utf-8", "replace"))
        for part in parts if part.get_filename() is None
    ]


def text(value):
    return str(value).encode("utf-8", "replace").decode()


PARSERS = {name[5:]: parser for name, parser in list(globals().items()) if name.startswith("with_")}

for line in sys.stdin:
    case = json.loads(line)
    out = {}
    for name, parser in PARSERS.items():
        try:
            out[name] = [[text(key), text(value)] for key, value in parser(case["type"], bytes.fromhex(case["body"]))]
        except Exception:
            out[name] = None
    print(json.dumps(out))
