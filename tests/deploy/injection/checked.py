"""The same expressions by Google's own CEL (cel-expr-python), which checks types before it runs them, as the API server does when a policy
is created; cel-python does not. What it makes of a pod's variables has to be what cel-python makes of them.

Of `Object` and `JSONPatch` it is told that any field of any type is there and may be anything. Types of that name are messages to it, whose
names have no dots.
"""

import re

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, struct_pb2, wrappers_pb2

NAMED = re.compile(r"\b(Object(?:\.\w+)+)\{")


def flat(expression):
    return NAMED.sub(lambda found: found[1].replace(".", "_") + "{", expression)


def environment(expressions):
    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, struct_pb2, wrappers_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        pool.Add(file)
    types = {name.replace(".", "_") for e in expressions for name in NAMED.findall(e)} | {"JSONPatch"}
    fields = sorted({name for e in expressions for name in re.findall(r"\b([a-zA-Z]\w*):", e)})
    file = descriptor_pb2.FileDescriptorProto(name="policy.proto", syntax="proto3", dependency=["google/protobuf/any.proto"])
    for name in types:
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            message.field.add(name=field, json_name=field, number=number, label=1, type=11, type_name=".google.protobuf.Any")
    pool.Add(file)
    known = ("object", "oldObject", "request", "params", "variables")
    return cel.NewEnv(
        descriptor_pool=pool, variables={name: cel.Type.DYN for name in known}, extensions=[ext_strings.ExtStrings(2)]
    )


def expressions(spec):
    yield from (v["expression"] for v in spec.get("variables", []) + spec.get("matchConditions", []))
    yield from (m["jsonPatch"]["expression"] for m in spec.get("mutations", []))
    for validation in spec.get("validations", []):
        yield validation["expression"]
        if "messageExpression" in validation:
            yield validation["messageExpression"]


def check(*policies):
    """Whether all expressions are well typed; how many."""
    texts = [text for policy in policies for text in expressions(policy["spec"])]
    checker = environment(texts)
    for text in texts:
        checker.compile(flat(text))
    return len(texts)


def problem(policy, params, pod):
    """What is wrong with the pod."""
    checker, known = environment([]), {}
    for variable in policy["spec"]["variables"]:
        value = checker.compile(variable["expression"]).eval(data={"object": pod, "params": params, "variables": known})
        # One that cannot be had is asked for by none, or the next is none either.
        if value.type() != cel.Type.ERROR:
            known[variable["name"]] = value.plain_value()
        if variable["name"] == "problem":
            return known.get("problem")
