"""Writes tests/vectors/json.json: documents that RFC 8259 has every reader accept, has every reader reject, or leaves open, and for
the last what this engine does. Run it by hand after adding one: `python3 tests/tools/json_corpus.py > tests/vectors/json.json`.
"""

import json

ACCEPT = {
    # values alone
    "null": b"null", "true": b"true", "false": b"false", "a lonely number": b"42", "a lonely negative number": b"-0.1", "a lonely string": b'"asd"', "an empty string": b'""',
    "white space around": b" \n\r\t[] \t\r\n", "a newline at the end": b'["a"]\n',
    # arrays
    "an empty array": b"[]", "an empty array with a space": b"[ ]", "arrays in arrays": b"[[],[[]]]", "a space before the end": b"[1 ]", "a space at the begin": b"[ 4]", "several nulls": b"[1,null,null,null,2]",
    "mixed": b'[null, 1, "1", {}]', "false alone": b"[false]", "an empty string in it": b'[""]', "new lines": b"[1\n,\n2]",
    # numbers
    "0": b"[0]", "-0": b"[-0]", "-1": b"[-1]", "20e1": b"[20e1]", "1E22": b"[1E22]", "1E-2": b"[1E-2]", "1E+2": b"[1E+2]", "0e1": b"[0e1]", "0e+1": b"[0e+1]", "123e45": b"[123e45]", "123.456e78": b"[123.456e78]", "1e-2": b"[1e-2]",
    "-123": b"[-123]", "-0.0": b"[-0.0]", "0.000": b"[0.000]", "a tiny one": b"[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]", "many digits": b"[" + b"9" * 400 + b"]", "many decimals": b"[0." + b"3" * 400 + b"]", "1.10": b"[1.10]", "zeros behind": b"[1000000000000000000000.000]",
    # strings
    "escapes": rb'["\"\\\/\b\f\n\r\t"]', "one escape each": rb'["\u0060\u012a\u12AB"]', "a surrogate pair": rb'["\uD801\udc37"]', "two surrogate pairs": rb'["\ud83d\ude39\ud83d\udc8d"]', "escaped null": rb'["\u0000"]', "escaped control": rb'["\u0012"]', "escaped quotation": rb'["\u0022"]', "escaped backslash": rb'["\u005C"]', "backslash and u00": rb'["\\u0000"]', "backslash and n": rb'["\\n"]', "a double escape": rb'["\\a"]', "noncharacters": rb'["\uFFFF\uFDD0\uFFFE"]', "the last of plane 16": rb'["\uDBFF\uDFFE"]',
    "delete": b'["a\x7fa"]', "two bytes": '["é"]'.encode(), "three bytes": '["\u2028\u2029€"]'.encode(), "four bytes": '["\U0001f600\U0010ffff"]'.encode(), "noncharacters as they are": '["\uffff\ufdd0"]'.encode(), "the last before the surrogates": '["\ud7ff\ue000"]'.encode(), "a mark inside": '["a\ufeff"]'.encode(), "comments in it": b'["a/*b*/c/*d//e"]', "braces and brackets in it": b'["{[}]:,"]', "a slash": b'["/"]', "quotes in it": rb'["{\"a\":\"b\"}"]', "ends in a backslash": rb'["a\\"]', "backslashes": rb'["\\\\\\"]', "sixty-four bytes": b'["' + b"a" * 60 + b'"]', "an escape over a border": b'["' + b"a" * 61 + rb'\u00e9"]', "a quotation mark over a border": b'["' + b"a" * 61 + rb'\""]',
    # objects
    "an empty object": b"{}", "an empty object with spaces": b"{ \n }", "a member": b'{"a":1}', "two members": b'{"a":1,"b":2}', "the same name twice": b'{"a":"b","a":"c"}', "the same member twice": b'{"a":"b","a":"b"}', "an empty name": b'{"":0}', "an escaped name": rb'{"foo\u0000bar":42}', "spaces": b'{ "a" : 1 , "b" : [ ] }', "nested": b'{"a":{"b":{"c":{}}}}', "long strings": b'{"x":[{"id":"' + b"x" * 100 + b'"}],"id":"' + b"y" * 100 + b'"}', "extreme numbers": b'{"min":-1.0e+28,"max":1.0e+28}', "a name of quotes": rb'{"\"":"\""}', "a name that ends in a backslash": rb'{"a\\":1}', "new lines in it": b'{\n"a":\n"b"\n}', "prototype": b'{"__proto__":{"a":1}}',
    # depth
    "100 deep": b"[" * 100 + b"]" * 100, "500 deep": b'{"a":' * 500 + b"1" + b"}" * 500,
}
REJECT = {
    # structure
    "nothing": b"", "white space alone": b" \n", "a comma alone": b",", "a colon alone": b":", "an open array": b"[", "a closed array": b"]", "an open object": b"{", "a closed object": b"}", "array without end": b"[1", "array without end after a comma": b"[1,", "array without end in a string": b'["a', "array without end in a number": b"[1e", "nested without end": b"[[1]", "two ends": b"[1]]", "an end of another kind": b"[1}", "an object ended as an array": b'{"a":1]', "object end in array": b'["a":1}',
    "a comma at the end": b"[1,]", "two commas": b"[1,,2]", "a comma at the begin": b"[,1]", "only a comma": b"[,]", "no comma": b"[1 true]", "a colon for a comma": b'["a":1]', "a comma behind the array": b"[1],", "two arrays": b"[][]", "a value behind": b"[1]x", "a bracket behind": b"[1]]", "a star": b"[*]", "a minus": b"[-]", "items without array": b"1,2", "array of nothing with parens": b"[()]",
    "a comma at the end of an object": b'{"a":0,}', "two commas in an object": b'{"a":0,,"b":1}', "a comma alone in an object": b"{,}", "no colon": b'{"a" 1}', "two colons": b'{"a"::1}', "no value": b'{"a":}', "no value and more": b'{"a":,"b":1}', "no name": b"{:1}", "a number as a name": b"{1:1}", "null as a name": b"{null:1}", "no quotation marks": b"{a:1}", "single quotation marks": b"{'a':1}", "only a name": b'{"a"}', "a name and a comma": b'{"a","b"}', "an equals sign": b'{"a"=1}', "a semicolon": b'{"a":1;"b":2}', "no comma in an object": b'{"a":1 "b":2}', "a value in a value's place": b'{"a":1 2}', "an object ended in a name": b'{"a', "an object ended behind a name": b'{"a"', "an object ended behind a colon": b'{"a":', "an object ended behind a value": b'{"a":1', "an object ended behind a comma": b'{"a":1,', "garbage behind": b'{"a":1}#', "an object twice": b'{"a":1}{"b":2}', "a bracketed name": b'{["a"]:1}', "an ellipsis": b'{"a":1,...}', "repeated names without quotes": b'{a:"b"}', "two nulls": b"null null",
    # literals
    "nul": b"nul", "tru": b"[tru]", "fals": b"[fals]", "nulll": b"nulll", "True": b"True", "NULL": b"NULL", "undefined": b"undefined", "NaN": b"[NaN]", "-NaN": b"[-NaN]", "Infinity": b"[Infinity]", "-Infinity": b"[-Infinity]", "Inf": b"[Inf]", "truefalse": b"[truefalse]", "true1": b"[true1]",
    # numbers
    "01": b"[01]", "-01": b"[-01]", "00": b"[00]", "012": b"[012]", "-": b"-", "+1": b"[+1]", "++1": b"[++1]", "--1": b"[--1]", "- 1": b"[- 1]", "-a": b"[-a]", "1.": b"[1.]", "-1.": b"[-1.]", "1.e1": b"[1.e1]", ".1": b"[.1]", "-.1": b"[-.1]", "0.e1": b"[0.e1]", "1e": b"[1e]", "1E": b"[1E]", "1e+": b"[1e+]", "1e-": b"[1e-]", "1eE2": b"[1eE2]", "1e1.5": b"[1e1.5]", "1 000": b"[1 000]", "1,000.": b"[1,000.]", "1_000": b"[1_000]", "0x1": b"[0x1]", "0x": b"[0x]", "0b1": b"[0b1]", "1a": b"[1a]", "1.2a": b"[1.2a]", "1.2.3": b"[1.2.3]", "0.1.2": b"[0.1.2]", "0e": b"[0e]", "0e+": b"[0e+]", "2.e3": b"[2.e3]", "9.e+": b"[9.e+]", "full width": "[１]".encode(), "a minus sign of typography": "[−1]".encode(), "1 behind a space": b"[1 1]", "a number with a byte": b"[123\xe5]", "-foo": b"[-foo]", "1+2": b"[1+2]", "0.3e+": b"[0.3e+]", "1.0e": b"[1.0e]", "an exponent of letters": b"[1ea]",
    # strings
    "a newline": b'["a\nb"]', "a tab": b'["a\tb"]', "a null byte": b'["a\x00b"]', "a unit separator": b'["\x1f"]', "a return": b'["\r"]', "no end": b'"', "no end behind an escape": rb'["\"]', "no end behind a backslash": b'["\\', "an escape of x": rb'["\x00"]', "an escape of a": rb'["\a"]', "an escape of a single quotation mark": rb"""["\'"]""", "an escape of a digit": rb'["\0"]', "an escape of a space": rb'["\ "]', "an escape of a byte": b'["\\\xe5"]', "an escape of an emoji": '["\\\U0001f300"]'.encode(), "an escape of a newline": b'["\\\n"]', "an escape in upper case": rb'["\N"]', "u without digits": rb'["\u"]', "u with three": rb'["\u00A"]', "u with a letter": rb'["\u00G0"]', "u in upper case": rb'["\U0041"]', "u with braces": rb'["\u{41}"]', "u with a sign": rb'["\u+041"]', "u with a space": rb'["\u 041"]', "a surrogate cut short": rb'["\uD834\uDd"]', "a surrogate with a wrong escape": rb'["\uD800\x"]', "a pair without u": rb'["\uD800\u1"]', "three quotation marks": b'["a""]', "no quotation mark at the begin": b'[a"]', "single quotation marks around": b"['a']", "typographic quotation marks": "[“a”]".encode(), "a string over two": b'["a" "b"]', "backticks": b"[`a`]",
    # bytes
    "a lone continuation": b'["\x80"]', "a lone start": b'["\xc3"]', "a start before a quotation mark": b'["\xe2\x82"]', "an overlong slash": b'["\xc0\xaf"]', "overlong in three": b'["\xe0\x80\xaf"]', "overlong in four": b'["\xf0\x80\x80\xaf"]', "an overlong null": b'["\xc0\x80"]', "a surrogate in UTF-8": b'["\xed\xa0\x80"]', "a low surrogate in UTF-8": b'["\xed\xbf\xbf"]', "above U+10FFFF": b'["\xf4\x90\x80\x80"]', "five bytes": b'["\xf8\x88\x80\x80\x80"]', "fe": b'["\xfe"]', "ff": b'["\xff"]', "Latin-1": b'["\xe9"]', "invalid in a name": b'{"\xb9":"0"}', "invalid between": b"[\xff]", "invalid alone": b"\xff", "invalid behind": b"1\xff", "UTF-16": b'\xff\xfe[\x00"\x00\xe9\x00"\x00]\x00', "UTF-16 without a mark": b'\x00[\x00"\x00\xe9\x00"\x00]',
    # white space and comments
    "a form feed": b"[\x0c]", "a vertical tab": b"[\x0b1]", "a no-break space": "[\u00a0]".encode(), "a line separator": "[\u2028]".encode(), "a word joiner": "[\u2060]".encode(), "an escaped newline outside": rb"[\n]", "a null byte between": b"[1,\x002]", "a null byte behind": b"[1]\x00", "a comment": b"[1]/* */", "a line comment": b"[1]//x", "a comment inside": b'{"a":/*b*/1}', "a hash": b"[1]#", "a mark at the begin": "\ufeff[]".encode(), "half a mark": b"\xef\xbb{}", "angle brackets": b"<null>", "HTML": b"<!DOCTYPE html>", "an escaped document": rb'[\"a\"]', "a quoted document without quotation marks": rb'{\"a\":1}',
}
# RFC 8259 §§ 8.2, 9: what strings may hold beyond Unicode, how deep, how large. (document, what is done here, why)
EITHER = {
    "a lone high surrogate": (rb'["\uD800"]', "accept", "passes as it came; sealed and opened as text it is refused where a form is needed"),
    "a lone low surrogate": (rb'["\uDC00"]', "accept", "the same"),
    "surrogates in the wrong order": (rb'["\uDC00\uD800"]', "accept", "the same"),
    "a high surrogate and a letter": (rb'["\uD800a"]', "accept", "the same"),
    "two high surrogates": (rb'["\uD800\uD800\uDC00"]', "accept", "the same"),
    "a lone surrogate in a name": (rb'{"\uDFAA":0}', "accept", "the same"),
    "a number beyond doubles": (b"[1e999]", "accept", "numbers are never computed with"),
    "a number near zero": (b"[1e-9999]", "accept", "the same"),
    "an exponent of many digits": (b"[0e" + b"1" * 200 + b"]", "accept", "the same"),
    "an integer beyond 2^64": (b"[100000000000000000000]", "accept", "the same"),
    "513 deep": (b"[" * 513 + b"]" * 513, "reject", "nesting is bounded by 512"),
    "513 objects deep": (b'{"a":' * 513 + b"1" + b"}" * 513, "reject", "the same"),
}


def main() -> None:
    cases = [{"name": name, "hex": text.hex(), "expect": "accept"} for name, text in ACCEPT.items()]
    cases += [{"name": name, "hex": text.hex(), "expect": "reject"} for name, text in REJECT.items()]
    cases += [{"name": name, "hex": text.hex(), "expect": "either", "here": here, "why": why} for name, (text, here, why) in EITHER.items()]
    print("[\n" + ",\n".join("  " + json.dumps(case) for case in cases) + "\n]")


main()
