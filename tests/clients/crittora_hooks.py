"""Tells the API tester that Cognito's media type is JSON."""

import json

import schemathesis

schemathesis.serializer.alias("application/x-amz-json-1.1", "application/json")


@schemathesis.deserializer("application/x-amz-json-1.1")
def cognito(_context, response):
    return json.loads(response.content)
