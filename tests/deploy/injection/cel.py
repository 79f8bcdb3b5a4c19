"""Admission policies as the API server runs them, by cel-python: variables, match conditions, JSONPatch mutations, validations.

What Kubernetes adds to CEL and the policies here use is supplied: `variables` (evaluated when first asked for), the types `Object` and
`JSONPatch`, and of the library of strings `substring`. See the page "Mutating Admission Policy" of the Kubernetes documentation.
"""

import sys

import celpy
import celpy.adapter
import celpy.celtypes as ct
import jsonpatch
from celpy.evaluation import CELEvalError

ENVIRONMENT = celpy.Environment()
PROGRAMS = {}


def substring(text, start, end=None):
    size = len(text)
    end = size if end is None else int(end)
    if not 0 <= int(start) <= end <= size:
        raise ValueError("substring: index out of range")
    return ct.StringType(str(text)[int(start):end])


def program(expression):
    if expression not in PROGRAMS:
        tree = ENVIRONMENT.compile(expression)
        PROGRAMS[expression] = ENVIRONMENT.program(tree, functions={"substring": substring})
    return PROGRAMS[expression]


class Made(ct.MapType):
    """A value of `Object.…` or `JSONPatch`, and what it was called."""

    path = ""


class Type(ct.MapType):
    """`Object`, `Object.spec`, …: any field of any of them is a type, as the API server's dynamic resolver has it."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def __getitem__(self, name):
        return Type(f"{self.path}.{name}")

    def __call__(self, fields):
        made = Made()
        made.path = self.path
        for name, value in fields.items():
            if isinstance(value, CELEvalError):
                raise value
            made[ct.StringType(name)] = value
        return made


class Variables(ct.MapType):
    def __init__(self, declared, context):
        super().__init__()
        self.declared, self.context, self.known = declared, context, {}

    def __getitem__(self, name):
        name = str(name)
        if name not in self.known:
            # Each sees those before it.
            before = [v["name"] for v in self.declared]
            expression = self.declared[before.index(name)]["expression"]
            try:
                self.known[name] = program(expression).evaluate({**self.context, "variables": self})
            except CELEvalError as error:
                self.known[name] = error
        return self.known[name]


def names_fit(value, path):
    """An object in a field has the type of that field; lists and maps between have no name."""
    if isinstance(value, Made):
        assert value.path == path, f"{value.path} stands where {path} belongs"
        for name, inner in value.items():
            names_fit(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            names_fit(inner, path)


def plain(value):
    """As JSON has it. In CEL's types a boolean is an integer."""
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    for celtype, native in (((bool, ct.BoolType), bool), (int, int), (str, str)):
        if isinstance(value, celtype):
            return native(value)
    raise TypeError(f"{type(value)} in a patch")


class Policy:
    def __init__(self, manifest, params=None):
        self.spec, self.params = manifest["spec"], params

    def context(self, pod, old=None, operation="CREATE"):
        convert = celpy.adapter.json_to_cel
        context = {
            "object": convert(pod),
            "oldObject": convert(old) if old is not None else None,
            "request": convert({"operation": operation}),
            "Object": Type("Object"),
            "JSONPatch": Type("JSONPatch"),
        }
        if self.params is not None:
            context["params"] = convert(self.params)
        return context

    def matches(self, context):
        # Match conditions come before the variables, and do not see them.
        return all(bool(program(c["expression"]).evaluate(context)) for c in self.spec.get("matchConditions", []))

    def with_variables(self, context):
        return {**context, "variables": Variables(self.spec.get("variables", []), context)}

    def mutate(self, pod):
        """The pod after the policy."""
        context = self.context(pod)
        if not self.matches(context):
            return pod
        context = self.with_variables(context)
        for mutation in self.spec["mutations"]:
            assert mutation["patchType"] == "JSONPatch"
            operations = program(mutation["jsonPatch"]["expression"]).evaluate(context)
            for operation in operations:
                assert operation.path == "JSONPatch" and set(operation) <= {"op", "path", "from", "value"}
                if isinstance(operation["value"], Made):
                    names_fit(operation["value"], operation["value"].path)
                # In versions before 1.35 a list of objects as a value does not become JSON.
                assert not (isinstance(operation["value"], list) and operation["value"])
            pod = jsonpatch.apply_patch(pod, plain(operations))
        return pod

    def refuses(self, pod, old=None, operation="CREATE"):
        """The message, or nothing."""
        context = self.context(pod, old, operation)
        if not self.matches(context):
            return None
        context = self.with_variables(context)
        for validation in self.spec["validations"]:
            if not bool(program(validation["expression"]).evaluate(context)):
                if "messageExpression" in validation:
                    return str(program(validation["messageExpression"]).evaluate(context))
                return validation["message"]
        return None


sys.setrecursionlimit(10_000)
