"""Patterns inside expectations: {"$any"}, {"$re"}, {"$superset"}, {"$range"}, {"$contains"}, {"$set"}.

Everything else must be equal, objects exactly in their members; numbers compare by value.
"""
import json
import re

TYPES = {
    "any": lambda v: True,
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "null": lambda v: v is None,
}


def match(pattern, value, path="$"):
    """None when the value matches the pattern, else what is wrong and where."""
    if isinstance(pattern, dict):
        if len(pattern) == 1:
            ((operator, operand),) = pattern.items()
            if operator in OPERATORS:
                return OPERATORS[operator](operand, value, path)
        return match_object(pattern, value, path)
    if isinstance(pattern, list):
        return match_array(pattern, value, path)
    if same_scalar(pattern, value):
        return None
    return "%s: wanted %s, got %s" % (path, json.dumps(pattern), json.dumps(value))


def same_scalar(a, b):
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return type(a) is type(b) and a == b


def match_object(pattern, value, path):
    if not isinstance(value, dict):
        return "%s: wanted %s, got %r" % (path, json.dumps(pattern), value)
    for name in pattern:
        if name not in value:
            return "%s: member '%s' missing in %s" % (path, name, json.dumps(value))
    for name in value:
        if name not in pattern:
            return "%s: unexpected member '%s' in %s" % (path, name, json.dumps(value))
    return first(match(pattern[name], value[name], path + "." + name) for name in pattern)


def match_array(pattern, value, path):
    if not isinstance(value, list) or len(value) != len(pattern):
        return "%s: wanted %s, got %s" % (path, json.dumps(pattern), json.dumps(value))
    return first(match(p, v, "%s[%d]" % (path, i)) for i, (p, v) in enumerate(zip(pattern, value)))


def match_any(name, value, path):
    if TYPES[name](value):
        return None
    return "%s: wanted any %s, got %r" % (path, name, value)


def match_re(expression, value, path):
    if isinstance(value, str) and re.fullmatch(expression, value, re.S):
        return None
    return "%s: %r does not match /%s/" % (path, value, expression)


def match_superset(pattern, value, path):
    if not isinstance(value, dict):
        return "%s: wanted an object, got %r" % (path, value)
    for name in pattern:
        if name not in value:
            return "%s.%s: missing" % (path, name)
    return first(match(pattern[name], value[name], path + "." + name) for name in pattern)


def match_range(ends, value, path):
    a, b = ends
    want = list(range(a, b + 1)) if a <= b else list(range(a, b - 1, -1))
    if value == want:
        return None
    return "%s: wanted the numbers %d..%d, got %r" % (path, a, b, value)


def match_contains(patterns, value, path):
    """Array: some element matches each pattern."""
    if not isinstance(value, list):
        return "%s: wanted an array, got %r" % (path, value)
    for pattern in patterns:
        if not any(match(pattern, element) is None for element in value):
            return "%s: no element matches %s" % (path, json.dumps(pattern))
    return None


def match_set(patterns, value, path):
    """Array: these elements in any order, and no others."""
    if not isinstance(value, list) or len(value) != len(patterns):
        return "%s: wanted %d elements in any order, got %r" % (path, len(patterns), value)
    left = list(value)
    for pattern in patterns:
        hit = next((e for e in left if match(pattern, e) is None), left)
        if hit is left:
            return "%s: no element matches %s" % (path, json.dumps(pattern))
        left.remove(hit)
    return None


def first(results):
    return next((r for r in results if r), None)


OPERATORS = {
    "$any": match_any,
    "$re": match_re,
    "$superset": match_superset,
    "$range": match_range,
    "$contains": match_contains,
    "$set": match_set,
}
